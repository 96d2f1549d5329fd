import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from builder.download.rar_program import rar_program
from builder.download.unpack import unpack
from builder.errors import BuilderError
from tests.builder.download.archives import files_in, rar_of, tar_link, tar_of, tool, zip_of

LINK = 0o120777


def unpacked(content: bytes, tmp_path: Path, name: str = "a.bin", **options: bool) -> dict:
    archive = tmp_path / name
    archive.write_bytes(content)
    count = unpack(archive, tmp_path / "out", **options)
    files = files_in(tmp_path / "out")
    assert count == len(files)
    return files


FILES = {"A/one.avi": b"1" * 3_000_000, "A/b c/two.avi": b"22", "three é.txt": b""}
MAKERS = {
    "zip": zip_of,
    "tar": tar_of,
    "tar.gz": lambda files: gzip.compress(tar_of(files)),
    "rar": rar_of,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_comes_out_whole(tmp_path, kind):
    seen = []
    archive = tmp_path / f"a.{kind}"
    archive.write_bytes(MAKERS[kind](FILES))
    assert unpack(archive, tmp_path / "out", progress=lambda *now: seen.append(now)) == 3
    assert files_in(tmp_path / "out") == FILES
    assert seen == [(done, 3, f"a.{kind}") for done in range(4)]


def test_the_kind_is_what_the_bytes_say(tmp_path):
    assert unpacked(tar_of(FILES), tmp_path, "a.tar.gz") == FILES


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["../x", "/abs", "A/../../x", "A/.."])
def test_a_member_that_leaves_the_folder_is_refused(tmp_path, kind, name):
    (tmp_path / "in").mkdir()
    with pytest.raises(BuilderError, match="refused, and nothing") as error:
        unpacked(MAKERS[kind]({"good.avi": b"1", name: b"2"}), tmp_path / "in")
    assert repr(name) in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.bin"]


@pytest.mark.parametrize(
    "archive",
    [
        tar_of({"good": b"1", "link": tar_link("link", "/tmp"), "link/x": b"2"}),
        tar_of({"good": b"1", "link": tar_link("link", "../..", tarfile.LNKTYPE)}),
        tar_of({"good": b"1", "link": tar_link("link", "", tarfile.FIFOTYPE)}),
        zip_of({"link": b"/tmp"}, mode=LINK),
        rar_of({"link": b"/tmp"}, mode=LINK),
    ],
    ids=["tar-symlink", "tar-hardlink", "tar-pipe", "zip", "rar"],
)
def test_a_link_is_refused(tmp_path, archive):
    with pytest.raises(BuilderError, match="'link' is a link"):
        unpacked(archive, tmp_path)
    assert not (tmp_path / "out").exists()


def broken(content: bytes, needle: bytes) -> bytes:
    """The same with one byte of `needle` changed."""
    assert content.count(needle) == 1
    return content.replace(needle, bytes([needle[0] ^ 1]) + needle[1:])


STORED = io.BytesIO()
with zipfile.ZipFile(STORED, "w") as _archive:
    _archive.writestr("A/one.avi", b"the videos' bytes")

DAMAGED = {
    "zip-crc": broken(STORED.getvalue(), b"the videos' bytes"),
    "zip-short": zip_of(FILES)[:-30],
    "rar-crc": rar_of({"A/one.avi": b"x"}, wrong_crc=True),
    "rar-header": broken(rar_of(FILES), b"one.avi"),
    "rar-short": rar_of(FILES)[:1000],
    "rar-empty": rar_of({}),
    "gz-crc": gzip.compress(tar_of(FILES))[:-8] + bytes(8),
    "gz-short": gzip.compress(tar_of(FILES))[:-100],
    "tar-short": tar_of(FILES)[:2_000_000],
    "page": b"<!DOCTYPE html><html>not here</html>",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_archive_is_named_and_stays(tmp_path, kind):
    with pytest.raises(BuilderError, match=r"a\.bin .*Delete .*a\.bin and give the same"):
        unpacked(DAMAGED[kind], tmp_path)
    assert (tmp_path / "a.bin").is_file()


def test_what_is_no_archive_says_how_it_begins(tmp_path):
    with pytest.raises(BuilderError, match="begins with '<!DOCTYPE html>"):
        unpacked(DAMAGED["page"], tmp_path)


def test_a_rar_of_rars(tmp_path):
    inner = {f"{name}.rar": rar_of({f"{name}/v.avi": name.encode()}) for name in ("kick", "run")}
    files = unpacked(rar_of(inner), tmp_path, holds_rars=True)
    assert files == {"kick/v.avi": b"kick", "run/v.avi": b"run"}


def test_a_rar_in_a_rar_that_leaves_the_folder_is_refused(tmp_path):
    inner = {"kick.rar": rar_of({"ok": b"1", "../../x": b"2"})}
    with pytest.raises(BuilderError, match=r"kick\.rar in a\.bin is refused.*'../../x'"):
        unpacked(rar_of(inner), tmp_path, holds_rars=True)
    assert set(files_in(tmp_path / "out")) == {"kick.rar"}


@pytest.mark.parametrize("formats, expected", [("  Rar  rar r00\n  7z\n", "7z"), ("  7z\n", None)])
def test_a_7z_without_rar_is_none_for_it(tmp_path, monkeypatch, formats, expected):
    (tmp_path / "7z").write_text(f"#!/bin/sh\nprintf '{formats}'\n")
    (tmp_path / "7z").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rar_program() == expected


def test_a_compressed_rar_without_a_program_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rar_program() is None
    with pytest.raises(BuilderError, match=r"a\.bin needs a program that unpacks rar") as error:
        unpacked(rar_of(FILES, method=0x33), tmp_path)
    assert "apt-get install" in str(error.value)
    assert not (tmp_path / "out").exists()
    assert unpacked(rar_of(FILES), tmp_path) == FILES  # a stored one needs none


@pytest.mark.parametrize("solid", [False, True])
def test_a_compressed_rar_goes_through_the_program(tmp_path, monkeypatch, solid):
    tool(tmp_path / "bin", f"cat {tmp_path}/content")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    files = {"a.avi": b"12345", "b.avi": b"678"}
    (tmp_path / "content").write_bytes(b"".join(files.values()))
    assert unpacked(rar_of(files, method=0x33, solid=solid), tmp_path) == files
    (tmp_path / "content").write_bytes(b"something else")
    with pytest.raises(BuilderError, match=r"a\.avi does not come whole out of unrar"):
        unpacked(rar_of(files, method=0x33, solid=solid), tmp_path)
    (tmp_path / "content").write_bytes(b"")
    with pytest.raises(BuilderError, match="cannot be unpacked"):
        unpacked(rar_of(files, method=0x33, solid=solid), tmp_path)


def test_rights_and_owners_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo("a.avi")
    info.mode = 0o7000
    unpacked(tar_of({"a.avi": info}), tmp_path)
    assert stat.S_IMODE((tmp_path / "out" / "a.avi").stat().st_mode) & 0o7400 == 0o400
