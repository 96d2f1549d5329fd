import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest

from builder.download import http as module
from builder.download.http import DownloadSettings, ask_size, download
from builder.errors import BuilderError

QUICK = DownloadSettings(tries=3, pause=0.001, timeout=10)
CONTENT = bytes(range(256)) * 1200  # 307 200 bytes


@dataclass
class Server:
    """An HTTP server on this machine that can misbehave."""

    files: dict[str, bytes] = field(default_factory=dict)  # by the path of the request
    tags: dict[str, str] = field(default_factory=dict)  # ETags
    breaks: list[int] = field(default_factory=list)  # bytes after which the next GETs are cut
    ranges: bool = True
    lie: int = 0  # added to Content-Length
    status: list[int] = field(default_factory=list)  # of the next GETs, instead of an answer
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # GETs: path, Range
    url: str = ""


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers["Range"]))
            if server.status:
                self.send_error(server.status.pop(0))
            else:
                self.answer(body=True)

        def answer(self, body: bool) -> None:
            content, tag = server.files.get(self.path), server.tags.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start, wanted = 0, self.headers["Range"]
            if wanted and server.ranges and self.headers["If-Range"] == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                end = f"{len(content) - 1}/{len(content) + server.lie}"
                self.send_header("Content-Range", f"bytes {start}-{end}")
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content) - start + server.lie))
            self.end_headers()
            if body:
                rest = content[start:]
                self.wfile.write(rest[: server.breaks.pop(0)] if server.breaks else rest)

    return Handler


@contextmanager
def serve() -> Iterator[Server]:
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(state)) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        yield running


def get(server: Server, folder: Path, settings: DownloadSettings = QUICK) -> bytes:
    path = folder / "a.rar"
    download(f"{server.url}/a.rar", path, folder / "a.note", settings, "get it by hand")
    assert not (folder / "a.rar.part").exists()
    return path.read_bytes()


def no_one() -> str:
    """The URL of a server that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_file_comes_whole(server, tmp_path):
    server.files["/a.rar"] = CONTENT
    seen = []
    path = tmp_path / "a.rar"
    note = tmp_path / "notes" / "a"
    download(f"{server.url}/a.rar", path, note, QUICK, "", lambda *now: seen.append(now))
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, 1, "a.rar")
    assert seen[-1] == (1, 1, "a.rar")
    assert server.asked == [("/a.rar", None)]
    assert ask_size(f"{server.url}/a.rar", QUICK, "") == len(CONTENT)


def test_a_broken_connection_is_gone_on_with(server, tmp_path):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.breaks = [1000, 70_000]
    assert get(server, tmp_path) == CONTENT
    ranges = [None, "bytes=1000-", "bytes=71000-"]
    assert server.asked == [("/a.rar", wanted) for wanted in ranges]


def test_a_killed_download_is_gone_on_with(server, tmp_path):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    (tmp_path / "a.rar.part").write_bytes(CONTENT[:5000])
    note = {"url": f"{server.url}/a.rar", "validator": '"1"', "total": len(CONTENT)}
    (tmp_path / "a.note").write_text(json.dumps(note))
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/a.rar", "bytes=5000-")]


def test_a_part_that_is_whole_needs_no_request(server, tmp_path):
    (tmp_path / "a.rar.part").write_bytes(CONTENT)
    note = {"url": f"{server.url}/a.rar", "validator": '"1"', "total": len(CONTENT)}
    (tmp_path / "a.note").write_text(json.dumps(note))
    assert get(server, tmp_path) == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "x", "validator": "1", "total": 9}'])
def test_a_part_of_unknown_origin_is_begun_anew(server, tmp_path, note):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    (tmp_path / "a.rar.part").write_bytes(b"other")
    (tmp_path / "a.note").write_text(note)
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/a.rar", None)]


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.ranges = False
    server.breaks = [1000]
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/a.rar", None), ("/a.rar", "bytes=1000-")]


def test_without_an_etag_or_a_date_a_download_begins_anew(server, tmp_path):
    server.files["/a.rar"] = CONTENT
    server.breaks = [1000]
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/a.rar", None), ("/a.rar", None)]


def test_a_weak_etag_is_no_promise(server, tmp_path):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, 'W/"1"'
    server.breaks = [1000]
    assert get(server, tmp_path) == CONTENT
    assert server.asked == [("/a.rar", None), ("/a.rar", None)]


@pytest.mark.parametrize("length", [len(CONTENT), 700])
def test_a_file_that_changed_between_tries_begins_anew(server, tmp_path, monkeypatch, length):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.breaks = [1000]
    other = CONTENT[::-1][:length]

    def change(seconds: float) -> None:
        server.files["/a.rar"], server.tags["/a.rar"] = other, '"2"'

    monkeypatch.setattr(module.time, "sleep", change)
    assert get(server, tmp_path) == other
    assert server.asked == [("/a.rar", None), ("/a.rar", "bytes=1000-")]


def test_a_file_that_got_shorter_under_its_old_tag_begins_anew(server, tmp_path, monkeypatch):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.breaks = [1000]
    monkeypatch.setattr(
        module.time, "sleep", lambda seconds: server.files.update({"/a.rar": b"short"})
    )
    assert get(server, tmp_path) == b"short"
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", None]


def test_a_server_that_sends_less_than_it_says(server, tmp_path):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.lie = 10
    with pytest.raises(BuilderError, match="3 tries in a row brought nothing new") as error:
        get(server, tmp_path)
    assert "get it by hand" in str(error.value)
    assert not (tmp_path / "a.rar").exists()


def test_a_server_that_sends_more_than_it_says(server, tmp_path):
    """What is too much cannot be told from the next answer: it is not taken."""
    server.files["/a.rar"] = CONTENT
    server.lie = -10
    assert get(server, tmp_path) == CONTENT[:-10]


def test_tries_without_progress_are_bounded_and_wait_longer_and_longer(
    server, tmp_path, monkeypatch
):
    server.files["/a.rar"], server.tags["/a.rar"] = CONTENT, '"1"'
    server.breaks = [1000] + 9 * [0]
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    with pytest.raises(BuilderError, match=f"after 1000 of {len(CONTENT)} bytes"):
        get(server, tmp_path, DownloadSettings(tries=4, pause=1))
    assert waits == [1, 1, 2, 4]
    assert len(server.asked) == 5
    server.breaks = []
    assert get(server, tmp_path) == CONTENT
    assert server.asked[-1] == ("/a.rar", "bytes=1000-")


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
    with pytest.raises(BuilderError, match="Cannot reach 127") as error:
        ask_size(f"{url}/a.rar", QUICK, "get it by hand")
    assert "Connection refused" in str(error.value)
    assert str(error.value).endswith("or get it by hand.")
    with pytest.raises(BuilderError, match="Connection refused"):
        download(f"{url}/a.rar", tmp_path / "a", tmp_path / "note", QUICK, "")


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
        download("https://x.org/a", tmp_path / "a", tmp_path / "n", QUICK, "")
    assert asked == [None, None]
    with pytest.raises(BuilderError):
        ask_size("https://x.org/a", DownloadSettings(insecure=True), "")
    assert asked[2].verify_mode == ssl.CERT_NONE
    assert not asked[2].check_hostname


def test_names_are_quoted_once(server, tmp_path):
    server.files["/a%20b%20%C3%A9.rar"] = b"x"
    for name in ("a b é.rar", "a%20b%20%C3%A9.rar"):
        path = tmp_path / "got"
        download(f"{server.url}/{name}", path, tmp_path / "note", QUICK, "")
        assert path.read_bytes() == b"x"
        path.unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_the_callers_matter(server, tmp_path):
    server.files["/a.rar"] = CONTENT
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        get(server, tmp_path)
