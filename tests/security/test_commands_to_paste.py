"""A command that is printed does what it says, whatever the names in it are."""

import argparse
import ast
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from builder.command_line import command_line, in_python, quoted
from tests.commands import run_ascnet
from trainer.errors import TrainerError
from trainer.weights.read import read_tensors

NAMES = (
    "$(touch X)",
    "`touch X`",
    "a; touch X #",
    "a'\"$(touch X)\n",  # quoted, and then escaped as Python does, it would run
    "a'$(touch X)\x1b\udc80",
    "-rf",
    "~",
    "*",
    "é 日本",
)


def words_of(text: str, cwd: Path) -> list[bytes]:
    """What bash makes of a command line; nothing is run."""
    out = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {text}"], cwd=cwd, capture_output=True, check=True
    )
    return out.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_word_and_itself(name, tmp_path):
    (tmp_path / "file").touch()
    got = words_of(command_line("ascnet", "verify", name, Path(name)), tmp_path)
    path = f"./{name}" if name.startswith("-") else name
    assert got == [b"ascnet", b"verify", os.fsencode(name), os.fsencode(path)]
    assert quoted(name).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [*NAMES, '"); open("X", "w") #', "\\", '\\"); open("X", "w") #'])
def test_a_name_in_a_line_of_python_is_a_text_and_itself(name):
    text = in_python(Path(name))
    assert ast.literal_eval(text) == str(Path(name)) and text.isprintable()


def test_what_is_printed_of_an_export_runs_nothing_of_a_name(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / '"); open("X", "w") #')
    printed = run_ascnet("export", run, "--to", "safetensors", cwd=tmp_path).stdout
    (line,) = (line.strip() for line in printed.splitlines() if "load_file" in line)
    (call,) = (node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call))
    assert Path(ast.literal_eval(call.args[0])).parent == run


@pytest.mark.parametrize("name", ["$(touch X)", "a'\"$(touch X)\n", "`touch X`"])
def test_what_is_printed_runs_nothing_of_a_name(name, finished_run, tmp_path):
    run = tmp_path / name / "run"
    shutil.copytree(finished_run, run)
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace("steps = 8", "steps = 9"))
    torch.save({"args": argparse.Namespace(lr=1)}, tmp_path / f"{name}.pth")
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"weights"))
    printed = {
        " the changed ones: ": run_ascnet("train", "--run", run, "--resume", cwd=tmp_path).stderr,
        " instead: ": said_of(tmp_path / f"{name}.pth"),
        " what comes out: ": said_of(tmp_path / f"{name}.gz"),
    }
    for before, text in printed.items():
        command = text.partition(before)[2]
        assert command, text
        # Words are the shell's affair: what is called is called with them, and need not do more.
        stubs = f"ascnet() {{ :; }}; {sys.executable}() {{ :; }}; "
        subprocess.run(["bash", "-c", stubs + command], cwd=tmp_path, check=False, timeout=60)
    assert not list(tmp_path.rglob("X"))
    assert (tmp_path / f"unpacked-{name}").read_bytes() == b"weights"


def said_of(path: Path) -> str:
    with pytest.raises(TrainerError) as caught:
        read_tensors(path)
    return str(caught.value)
