"""What `make shards` is given are words for ascnet, whatever folders are called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
NAMES = (
    "a b",
    "x; touch X",
    "q'; touch X; '",
    "$(touch X)",
    "$(shell touch X)",
    "a$b",
    "n\ntouch X",
)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_one_word_of_the_command(name, tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    program = tmp_path / ".venv" / "bin" / "ascnet"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\" > said\n")
    program.chmod(0o755)
    for file in ("pyproject.toml", "constraints.txt", ".venv/.ready"):
        (tmp_path / file).touch()
    given = [f"{key}={name}" for key in ("DATASET", "SOURCE", "SHARDS")]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["make", "shards", *given], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = (tmp_path / "said").read_bytes().decode().split("\0")[:-1]
    assert said == ["build", name, "--out", name, "--source", name]
    assert not (tmp_path / "X").exists()
