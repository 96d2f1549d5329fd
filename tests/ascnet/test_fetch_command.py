import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from builder.download import official
from tests.builder.download.archives import LISTS, RAR, VIDEOS, ZIP, rar_of, tool, zip_of
from tests.builder.download.server import Server, no_one, serve
from tests.commands import run_ascnet


@pytest.fixture(autouse=True)
def nothing_published(monkeypatch):
    """The archives here are none of the official ones."""
    monkeypatch.setattr(official, "PUBLISHED", {})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        yield running


def run(*words: str, cwd: Path) -> CompletedProcess[str]:
    tool(cwd / "bin")
    path = f"{cwd / 'bin'}:{os.environ['PATH']}"
    return run_ascnet("fetch", *words, cwd=cwd, no_proxy="*", PATH=path)


def test_fetch_says_what_came_and_what_is_next(server: Server, tmp_path):
    server.files |= {RAR: rar_of(VIDEOS), ZIP: zip_of(LISTS)}
    done = run("ucf101", "--base-url", server.url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "data/ucf101: 2 of 2 files downloaded now, 0.0 MB in total, 5 files unpacked; "
        "next: ascnet build ucf101"
    )
    assert "fetching 1/1 MB" in done.stderr
    assert "UCF101.rar (1 of 2)" in done.stderr
    assert "unpacking 4/4 files" in done.stderr
    assert (tmp_path / "data" / "ucf101" / next(iter(VIDEOS))).is_file()
    again = run("ucf101", "--base-url", server.url, cwd=tmp_path)
    assert again.stdout.splitlines()[0] == "data/ucf101 is up to date."


def test_another_folder_is_named_in_the_next_command(server: Server, tmp_path):
    server.files |= {RAR: rar_of(VIDEOS), ZIP: zip_of(LISTS)}
    done = run("ucf101", "--to", "big", "--base-url", server.url, "--keep-archives", cwd=tmp_path)
    assert done.stdout.endswith("next: ascnet build ucf101 --source big\n")
    assert (tmp_path / "big" / "UCF101.rar").is_file()


def test_mistakes_are_one_message(tmp_path):
    away = run("hmdb51", "--base-url", no_one(), cwd=tmp_path)
    assert away.returncode == 1
    assert away.stderr.startswith("Error: Cannot reach 127.0.0.1")
    assert len(away.stderr.strip().splitlines()) == 1
    assert (
        "'imagenet' is not one of 'ucf101', 'hmdb51', 'kinetics400'"
        in run("imagenet", cwd=tmp_path).stderr
    )
    wrong = run("ucf101", "--part", "val", cwd=tmp_path)
    assert "of ucf101 it has no parts" in wrong.stderr
