"""What a wheel and an sdist hold, compared with what lies on the disk."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import ascnet
from tests.test_structure import ALLOWED

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
SHIPPED = [pattern.removesuffix("*") for pattern in SETUPTOOLS["packages"]["find"]["include"]]
DATA = SETUPTOOLS["package-data"]["*"]


def files_of(room: str) -> list[Path]:
    return [
        path
        for path in sorted((ROOT / room).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def not_shipped(files: list[Path]) -> list[str]:
    """Those that setuptools leaves out: modules outside a package, and data that no pattern has."""
    left_out = []
    for path in files:
        package = path.parent
        if path.suffix != ".py":
            while not (package / "__init__.py").is_file():
                package = package.parent
            inside = path.relative_to(package).as_posix()
            is_shipped = any(fnmatch(inside, pattern) for pattern in DATA)
        else:
            is_shipped = (package / "__init__.py").is_file()
        if not is_shipped:
            left_out.append(path.as_posix())
    return left_out


def test_every_room_is_shipped_but_those_that_nobody_calls():
    assert set(SHIPPED) == set(ALLOWED) - {"experiments", "benchmarks"}


@pytest.mark.parametrize("room", SHIPPED)
def test_every_file_of_a_room_is_shipped_and_typed(room):
    files = files_of(room)
    assert ROOT / room / "py.typed" in files
    assert not_shipped(files) == []


def test_what_would_be_forgotten_is_seen(tmp_path):
    for name in ("a/__init__.py", "a/x.csv", "a/recipes/x.toml", "a/b/x.py", "a/py.typed"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    forgotten = [str(tmp_path / "a" / "b" / "x.py"), str(tmp_path / "a" / "x.csv")]
    assert not_shipped(files) == forgotten


def test_an_sdist_holds_all_that_git_holds():
    told = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if told.returncode:
        pytest.skip("no checkout of git")
    folders, patterns = set(SHIPPED), ["LICENSE", "MANIFEST.in", "pyproject.toml"]
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        word, *names = line.split()
        folders |= {name for name in names if word == "graft"}
        patterns += names if word == "include" else []
    files = told.stdout.splitlines()
    assert len(files) > 500
    left_out = [
        file
        for file in files
        for first, slash, _ in [file.partition("/")]
        if first not in folders and (slash or not any(fnmatch(file, own) for own in patterns))
    ]
    assert left_out == []


def test_the_version_is_one():
    cited = re.findall(r"(?m)^version: (.*)$", (ROOT / "CITATION.cff").read_text())
    assert cited == [ascnet.__version__]
    assert f"({ascnet.__version__})" in (ROOT / "CHANGELOG.md").read_text()
