"""What is said of another's file is a sentence, however long what it holds is."""

import shutil

import click
import pytest

from ascnet import cli
from tests.commands import run_ascnet
from trainer.run.checkpoint import CONFIG_FILE


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried",
        "CUDA out of memory. Tried to allocate 2 GiB",
        "Storage size calculation overflowed with sizes=[2, 3, 8, 1000000000, 1000000000]",
    ],
)
def test_torch_says_in_a_runtime_error_that_the_memory_is_full(said, monkeypatch, capsys):
    def full(**_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(cli, "cli", full)
    with pytest.raises(SystemExit):
        cli._run()
    assert capsys.readouterr().err == (
        "Error: This machine does not have enough memory for this command.\n"
    )


def test_another_runtime_error_is_a_fault_of_ours(monkeypatch):
    def wrong(**_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(cli, "cli", wrong)
    with pytest.raises(RuntimeError, match="mat1"):
        cli._run()


def test_a_message_fills_no_screen(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    text = (run / CONFIG_FILE).read_text()
    (run / CONFIG_FILE).write_text(text.replace('recipe = "', f'recipe = "{"x" * 100_000}', 1))
    said = run_ascnet("evaluate", "--run", run, cwd=tmp_path)
    assert said.returncode == 1 and len(said.stderr) < 5000
    assert said.stderr.startswith("Error: recipe is 'xxx") and "a plain name" in said.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("shards = [", "shards = []\nothers = [", "does not record what it was trained on"),
        ("shards_sha256 = [", "shards_sha256 = 5\nothers = [", "says too little under [run]"),
    ],
)
def test_a_run_that_does_not_say_of_what(old, new, words, finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    text = (run / CONFIG_FILE).read_text()
    assert f"\n{old}" in text
    (run / CONFIG_FILE).write_text(text.replace(f"\n{old}", f"\n{new}", 1))
    asked = ("train", "--resume") if "sha256" in old else ("evaluate",)
    said = run_ascnet(*asked, "--run", run, cwd=tmp_path)
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert words in click.unstyle(said.stderr)
