import json
import os
import socket
import ssl
from pathlib import Path
from urllib.error import URLError

import pytest

from builder.download import http as module
from builder.download.http import Download, DownloadSettings, ask_size, download
from builder.errors import BuilderError
from builder.progress import Progress, silent
from tests.builder.download.server import Server, no_one

QUICK = DownloadSettings(tries=3, pause=0.001, timeout=10)
CONTENT = bytes(range(256)) * 1200  # 307 200 bytes
TAG = '"1"'


@pytest.fixture
def tagged(server: Server) -> Server:
    """A server that has /a.rar, and can go on with it."""
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, TAG
    return server


def target(url: str, folder: Path) -> Download:
    return Download(f"{url}/a.rar", folder / "a.rar", folder / "notes" / "a", "get it by hand")


def get(
    server: Server,
    folder: Path,
    settings: DownloadSettings = QUICK,
    progress: Progress = silent,
) -> bytes:
    file = target(server.url, folder)
    download(file, settings, progress)
    assert not file.part.exists()
    return file.path.read_bytes()


def ranges(server: Server) -> list[str | None]:
    """What was asked for, one request after the other."""
    assert {path for path, _ in server.asked} <= {"/a.rar"}
    return [wanted for _, wanted in server.asked]


def begun(server: Server, folder: Path, part: bytes, note: str | None = None) -> None:
    """A download that was killed."""
    file = target(server.url, folder)
    file.part.write_bytes(part)
    file.note.parent.mkdir()
    whole = {"url": file.url, "validator": TAG, "total": len(CONTENT)}
    file.note.write_text(json.dumps(whole) if note is None else note)


def test_a_file_comes_whole(tagged, tmp_path):
    seen = []
    assert get(tagged, tmp_path, progress=lambda *now: seen.append(now)) == CONTENT
    assert seen[0] == (0, 1, "a.rar")
    assert seen[-1] == (1, 1, "a.rar")
    assert ranges(tagged) == [None]
    assert ask_size(f"{tagged.url}/a.rar", QUICK, "") == len(CONTENT)


@pytest.mark.parametrize(
    ("tag", "has_ranges", "breaks", "asked"),
    [
        (TAG, True, [1000, 70_000], [None, "bytes=1000-", "bytes=71000-"]),
        (TAG, False, [1000], [None, "bytes=1000-"]),  # begins anew
        (None, True, [1000], [None, None]),  # neither ETag nor date: so does this
        ('W/"1"', True, [1000], [None, None]),  # a weak ETag is no promise
    ],
)
def test_a_broken_connection(tagged, tmp_path, tag, has_ranges, breaks, asked):
    tagged.tags["/a.rar"], tagged.ranges, tagged.breaks = tag, has_ranges, list(breaks)
    assert get(tagged, tmp_path) == CONTENT
    assert ranges(tagged) == asked


@pytest.mark.parametrize(("size", "asked"), [(5000, ["bytes=5000-"]), (len(CONTENT), [])])
def test_a_killed_download_is_gone_on_with(tagged, tmp_path, size, asked):
    begun(tagged, tmp_path, CONTENT[:size])
    assert get(tagged, tmp_path) == CONTENT
    assert ranges(tagged) == asked


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "x", "validator": "1", "total": 9}'])
def test_a_part_of_unknown_origin_is_begun_anew(tagged, tmp_path, note):
    begun(tagged, tmp_path, b"other", note)
    assert get(tagged, tmp_path) == CONTENT
    assert ranges(tagged) == [None]


@pytest.mark.parametrize(
    ("other", "tag", "asked"),
    [
        (CONTENT[::-1], '"2"', [None, "bytes=1000-"]),
        (CONTENT[::-1][:700], '"2"', [None, "bytes=1000-"]),
        (b"short", TAG, [None, "bytes=1000-", None]),
    ],
)
def test_a_file_that_changed_between_tries_begins_anew(
    tagged, tmp_path, monkeypatch, other, tag, asked
):
    tagged.breaks = [1000]

    def change(seconds: float) -> None:
        tagged.files["/a.rar"], tagged.tags["/a.rar"] = other, tag

    monkeypatch.setattr(module.time, "sleep", change)
    assert get(tagged, tmp_path) == other
    assert ranges(tagged) == asked


def test_a_server_that_sends_less_than_it_says(tagged, tmp_path):
    tagged.lie = 10
    with pytest.raises(BuilderError, match="3 tries in a row brought nothing new") as error:
        get(tagged, tmp_path)
    assert "get it by hand" in str(error.value)
    assert not (tmp_path / "a.rar").exists()


def test_a_server_that_sends_more_than_it_says(server, tmp_path):
    """What is too much cannot be told from the next answer: it is not taken."""
    server.files["/a.rar"], server.lie = CONTENT, -10
    assert get(server, tmp_path) == CONTENT[:-10]


def test_tries_without_progress_are_bounded_and_wait_longer_and_longer(
    tagged, tmp_path, monkeypatch
):
    tagged.breaks = [1000] + 9 * [0]
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    with pytest.raises(BuilderError, match=f"after 1000 of {len(CONTENT)} bytes"):
        get(tagged, tmp_path, DownloadSettings(tries=4, pause=1))
    assert waits == [1, 1, 2, 4]
    assert len(tagged.asked) == 5
    tagged.breaks = []
    assert get(tagged, tmp_path) == CONTENT
    assert ranges(tagged)[-1] == "bytes=1000-"


def test_a_refusal_is_final_and_an_overload_is_not(server, tmp_path):
    with pytest.raises(BuilderError, match=r"does not give .*/a.rar \(404 Not Found\): get it by"):
        get(server, tmp_path)
    assert len(server.asked) == 1
    server.files["/a.rar"] = CONTENT
    server.status = [503, 429]
    assert get(server, tmp_path) == CONTENT


def test_no_server_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    url = no_one()
    with pytest.raises(BuilderError, match=r"Cannot reach 127.*refused.*or get it by hand\.$"):
        ask_size(f"{url}/a.rar", QUICK, "get it by hand")
    with pytest.raises(BuilderError, match="Connection refused"):
        download(target(url, tmp_path), QUICK)


def test_no_name_service_is_one_sentence(monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(module, "urlopen", fail)
    with pytest.raises(BuilderError, match=r"Cannot reach x.org \(Temporary failure in name"):
        ask_size("http://x.org/a", QUICK, "")


def test_a_certificate_that_cannot_be_verified_says_what_insecure_means(tmp_path, monkeypatch):
    asked = []

    def fail(*args: object, context: ssl.SSLContext | None, **kwargs: object) -> None:
        asked.append(context)
        reason = ssl.SSLCertVerificationError(1, "failed")
        reason.verify_message = "unable to get local issuer certificate"
        raise URLError(reason)

    monkeypatch.setattr(module, "urlopen", fail)
    words = r"certificate of x.org cannot be verified \(unable to get local .*--insecure.*checksums"
    with pytest.raises(BuilderError, match=words):
        ask_size("https://x.org/a", QUICK, "")
    with pytest.raises(BuilderError, match=words):
        download(target("https://x.org", tmp_path), QUICK)
    assert asked == [None, None]
    with pytest.raises(BuilderError):
        ask_size("https://x.org/a", DownloadSettings(insecure=True), "")
    assert asked[2].verify_mode == ssl.CERT_NONE
    assert not asked[2].check_hostname


@pytest.mark.parametrize("name", ["a b é.rar", "a%20b%20%C3%A9.rar"])
def test_names_are_quoted_once(server, tmp_path, name):
    server.files["/a%20b%20%C3%A9.rar"] = b"x"
    file = Download(f"{server.url}/{name}", tmp_path / "got", tmp_path / "note", "")
    download(file, QUICK)
    assert file.path.read_bytes() == b"x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_the_callers_matter(tagged, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        get(tagged, tmp_path)
