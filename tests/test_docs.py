"""The tour is run as it stands: its blocks in order, in one namespace, in an empty folder. So are
examples of other pages, where no other test runs them."""

import contextlib
import io
import re
from itertools import zip_longest
from pathlib import Path

import pytest
import torch

from builder.build.build import BuildSettings, How, build
from builder.decode.frames import FrameSettings
from builder.shards.dataset import ShardDataset
from trainer.backbones import all_backbones
from trainer.config.settings import Model
from trainer.method.ascnet import Encoder
from trainer.weights.load import backbone_from_file

DOCS = Path(__file__).resolve().parent.parent / "docs"
TOUR = DOCS / "tour.md"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str | None, int]]:
    """Code, what it prints (None: that varies, or is not said) and the line, of every block."""
    fences = [(*m.groups(), text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text)]
    found = []
    for own, after in zip_longest(fences, fences[1:], fillvalue=("", "", "", 0)):
        if own[0] == "python":
            is_said = after[0] == "text" and "varies" not in after[1]
            found.append((own[2], after[2] if is_said else None, own[3]))
    return found


def run(text: str, name: str) -> None:
    """Run the blocks of a page. Raises what a block raises, and AssertionError if one prints
    something else than what stands below it."""
    space: dict[str, object] = {"__name__": "__main__"}
    for code, wanted, line in blocks(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + code, name, "exec"), space)
        if wanted is not None:
            assert printed.getvalue() == wanted, f"{name}, the block of line {line}"


@pytest.mark.slow
def test_the_tour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TOUR.read_text(encoding="utf-8")
    assert len(blocks(text)) >= 10
    assert sum(wanted is not None for _, wanted, _ in blocks(text)) >= 7
    run(text, str(TOUR))


PAGE = (
    "Text.\n\n```python\nx = 1\nprint(x + 1)\n```\n\n```text{}\n{}\n```\n\n```python\nx += 1\n```\n"
)


def test_what_is_printed_is_compared():
    run(PAGE.format("", "2"), "page")
    run(PAGE.format(" varies", "3"), "page")
    with pytest.raises(AssertionError, match="page, the block of line 4"):
        run(PAGE.format("", "3"), "page")


def test_a_block_that_fails_fails():
    with pytest.raises(NameError, match="y"):
        run(PAGE.format("", "2").replace("x += 1", "x += y"), "page")


def example(words: str) -> str:
    """The one block of the page on extending that has these words."""
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    (code,) = (code for code, _, _ in blocks(page) if words in code)
    return code


def test_a_data_set_of_your_own(make_video, tmp_path):
    for person, action in ((2, "boxing"), (11, "boxing"), (11, "walking"), (25, "walking")):
        name = f"{action}/person{person:02}_{action}_d1_uncomp.avi"
        make_video(tmp_path / "kth" / name, frames=4)
    space: dict = {}
    exec(example("def read(root: Path) -> Catalog"), space)
    settings = BuildSettings(FrameSettings(short_side=32))
    build(space["read"](tmp_path / "kth"), tmp_path / "shards", settings, How(workers=1))
    dataset = ShardDataset(tmp_path / "shards")
    assert {(v.class_name, v.group, v.splits["1"]) for v in dataset.videos} == {
        ("boxing", "person02", "test"),
        ("boxing", "person11", "train"),
        ("walking", "person11", "train"),
        ("walking", "person25", "val"),
    }
    assert [video.label for video in dataset.videos] == [0, 0, 1, 1]


def test_a_backbone_of_your_own(monkeypatch):
    space: dict = {}
    exec(example("def slim() -> Backbone"), space)
    monkeypatch.setitem(all_backbones.BACKBONES, "slim", space["slim"])
    encoder = Encoder(Model(backbone="slim", hidden=8, dim=4))
    features, appearance, speed = encoder(torch.randn(2, 3, 4, 16, 16))
    assert (features.shape, appearance.shape, speed.shape) == ((2, 64), (2, 4), (2, 4))


def test_an_objective_of_your_own(shards, tmp_path, monkeypatch):
    code = example("simclr.safetensors")
    for whole, small in {
        '"shards/ucf101", frames=16': f'"{shards}", frames=4',
        "size=112": "size=16",
        "STEPS, BATCH = 20_000, 64": "STEPS, BATCH = 2, 4",
        "r3d18": "r3d-tiny",
    }.items():
        assert whole in code
        code = code.replace(whole, small)
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(code, space)
    assert torch.isfinite(space["loss"])
    backbone, loaded, name = backbone_from_file(tmp_path / "simclr.safetensors")
    assert (name, loaded.loaded) == ("r3d-tiny", 72)
    assert backbone.channels == 128
