"""Files that describe an encoder: those of the page run, and those that cannot are refused."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from evaluate.encoder_file import load_encoder, weights_sha256
from evaluate.encoders import of_encoder
from evaluate.errors import EvaluateError
from evaluate.features.encode import Pooled

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NET = """
import torch
from torch import nn
import ascnet

def net():
    return ascnet.Encoder(nn.Conv3d(3, 4, 3), frames=4, size=16, gives="map")
"""


def written(folder: Path, text: str) -> str:
    (folder / "nets.py").write_text(text)
    return f"{folder / 'nets.py'}:net"


@pytest.mark.parametrize(("name", "channels"), [("image", 32), ("two_stream", 64)])
def test_the_examples_of_the_page(name: str, channels: int, tmp_path: Path) -> None:
    (code,) = (c for c in BLOCK.findall(PAGE.read_text()) if f"def {name}() -> ascnet.Encoder" in c)
    (tmp_path / "nets.py").write_text(code)
    encoder = load_encoder(f"{tmp_path / 'nets.py'}:{name}").encoder
    subjects = of_encoder(f"{tmp_path / 'nets.py'}:{name}", tmp_path)
    clips = torch.randn(2, 3, encoder.frames, encoder.size, encoder.size)
    assert Pooled(subjects.trained.backbone)(clips).shape == (2, channels)
    assert (subjects.start is None) == (name == "image")
    if subjects.start is not None:
        hashes = {s.facts["checkpoint_sha256"] for s in (subjects.trained, subjects.untrained)}
        assert len(hashes) == 2


def test_what_it_is_known_by(tmp_path: Path) -> None:
    text = written(tmp_path, NET)
    first, again = (of_encoder(text, tmp_path / "runs") for _ in range(2))
    facts = first.trained.facts
    assert facts == again.trained.facts  # fresh weights, and the same ones
    assert facts["backbone"] == "nets.py:net" and facts["output"] == "map"
    assert first.folder == tmp_path / "runs" / "encoder-nets-net"
    written(tmp_path, NET + "# a note\n")
    source = of_encoder(text, tmp_path).trained.facts
    assert [k for k in facts if facts[k] != source[k]] == ["source_sha256"]
    written(tmp_path, NET.replace("return", "torch.manual_seed(3); return"))
    weights = of_encoder(text, tmp_path).trained.facts
    assert [k for k in facts if facts[k] != weights[k]] == ["checkpoint_sha256", "source_sha256"]
    with pytest.raises(EvaluateError, match="has no untrained network"):
        _ = first.untrained


def test_the_hash_of_weights() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2).bfloat16())
    before = weights_sha256(net)
    assert before == weights_sha256(net)
    net[0].num_batches_tracked += 1
    assert weights_sha256(net) != before


def test_a_file_imports_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_encoder.py").write_text("frames = 7")
    text = NET.replace("frames=4", "frames=frames") + "from beside_the_encoder import frames\n"
    assert load_encoder(written(tmp_path, text)).encoder.frames == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(): ...", "has no function net: its functions are other."),
        ("net = 3", "has no function net: it has no function."),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_fou"),
        ("x = 1\ny = 1 / 0", "cannot be run: ZeroDivisionError: division by zero (line 2 of nets"),
        ("def net(:", "cannot be run: SyntaxError: invalid syntax (line 1 of nets.py)."),
        ("import sys\nsys.exit(3)", "cannot be run: SystemExit: 3 (line 2 of nets.py)."),
        ("def net(x): ...", "without arguments: TypeError: net() missing 1 required positional"),
        ("def net():\n    {}['x']", "without arguments: KeyError: 'x' (line 2 of nets.py)."),
        ("def net(): return 3", "net returns a int; it must return an ascnet.Encoder("),
        (NET.replace("frames=4", "frames=-1"), "nets.py: frames is -1; allowed: 1 to"),
        (NET.replace("frames=4, ", ""), "missing 1 required positional argument: 'frames' (line 7"),
    ],
)
def test_a_file_that_describes_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EvaluateError) as caught:
        load_encoder(written(tmp_path, text))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["nets.py", "nets:net", "nets.py:", "nets.py:a-b", ":net", ""])
def test_what_names_no_function(text: str) -> None:
    with pytest.raises(EvaluateError, match=f"^--encoder is '{text}'; it takes FILE.py:NAME"):
        load_encoder(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EvaluateError, match=r"x\.py cannot be read \(No such file or directory\)"):
        load_encoder(f"{tmp_path}/x.py:net")
    (tmp_path / "x.py").mkdir()
    with pytest.raises(EvaluateError, match=r"x\.py cannot be read \(Is a directory\)"):
        load_encoder(f"{tmp_path}/x.py:net")
