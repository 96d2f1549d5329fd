import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import pytest

from builder.shards.dataset import ShardDataset
from trainer.data.streaming.retrying import Patience, RetryingStream, fetch_metadata
from trainer.data.streaming.transport import Stopped
from trainer.errors import TrainerError

QUICK = Patience(tries=3, pause=0.001, stall=20)
SLEEP = f"sleep 765.{os.getpid()}"  # of no other run of these tests
CONTENT = bytes(range(256)) * 3000  # 768 000 bytes


@dataclass
class Server:
    """An HTTP server of a folder that can break off."""

    folder: Path
    url: str = ""
    errors: list[int] = field(default_factory=list)  # HTTP statuses of the next answers
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    asked: list[str] = field(default_factory=list)  # file names, as they are asked for
    hang: Event = field(default_factory=Event)  # if set, answers stop half way until it is not


def handler_of(server: Server) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if server.errors:
                server.asked.append(self.path.rpartition("/")[2])
                self.send_error(server.errors.pop(0))
            else:
                super().do_GET()

        def copyfile(self, source, outputfile) -> None:
            server.asked.append(self.path.rpartition("/")[2])
            content = source.read(server.cuts.pop(0) if server.cuts else -1)
            outputfile.write(content[: len(content) // 2])
            while server.hang.is_set():
                time.sleep(0.01)
            outputfile.write(content[len(content) // 2 :])

    return Handler


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    state = Server(folder)
    handler = partial(handler_of(state), directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield state
        state.hang.clear()
        running.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x").write_bytes(CONTENT)
    with serve(tmp_path / "served") as running:
        yield running


def children() -> set[int]:
    """Processes that this one has started and that are not gone, dead ones included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.add(int(path.parent.name))
    return found


def is_gone(words: str) -> bool:
    """Whether no process has `words` in its command line (what is killed goes in a moment)."""
    for _ in range(100):
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                lines.append(path.read_text(errors="replace").replace("\0", " "))
        if not any(words in line for line in lines):
            return True
        time.sleep(0.02)
    return False


def read(url: str, needed: int = 0, patience: Patience = QUICK) -> bytes:
    content, piece = b"", memoryview(bytearray(50_000))
    with closing(RetryingStream(url, needed, patience, Event())) as stream:
        while got := stream.readinto(piece):
            content += piece[:got]
    return content


def test_the_same_bytes_from_everywhere(server) -> None:
    before = children()
    path = str(server.folder / "x")
    for url in (path, f"{server.url}/x", f"pipe:cat {path}", f"pipe:cat {path} | cat"):
        assert read(url) == read(url, len(CONTENT)) == CONTENT
    assert children() == before


def test_a_cut_connection_is_opened_again_and_read_past(server) -> None:
    server.cuts = [300_000, 100_000, 500_000, 499_999, 600_000, 10]
    assert read(f"{server.url}/x", len(CONTENT)) == CONTENT
    assert len(server.asked) == 7


def test_a_connection_that_is_always_cut(server) -> None:
    server.cuts = [300_000] * 3
    with pytest.raises(TrainerError) as caught:
        read(f"{server.url}/x?key=secret", len(CONTENT))
    assert str(caught.value).startswith(
        f"{server.url}/x broke off after 300000 bytes, 3 times in a row: curl ended with exit "
        "status 18."
    )


def test_what_is_not_on_the_server(server) -> None:
    with pytest.raises(TrainerError, match=r"/y cannot be read: curl: \(22\) .* 404"):
        read(f"{server.url}/y")


def test_without_curl(server, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    for try_it in (read, lambda url: fetch_metadata(url, server.folder / "new")):
        with pytest.raises(TrainerError, match="is read by curl, and there is none"):
            try_it(f"{server.url}/x")


def test_commands_that_fail(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    before = children()
    with pytest.raises(TrainerError, match=r"exit status 127 \(.*no-such-program: not found\)"):
        read("pipe:no-such-program x")
    with pytest.raises(TrainerError, match=r"3 times in a row: .* status 3 \(no bucket\)\. Try"):
        read("pipe:echo no bucket >&2; exit 3")
    with pytest.raises(
        TrainerError, match=r"broke off after 1000 bytes, 3 .* 767000 bytes are mis"
    ):
        read(f"pipe:head -c 1000 {path}", len(CONTENT))
    with pytest.raises(
        TrainerError, match=r"after 1000 bytes, 2 .*: nothing came for 0\.1 seconds"
    ):
        read(f"pipe:head -c 1000 {path}; {SLEEP}", 0, Patience(2, 0.001, 0.1))
    assert children() == before
    assert is_gone(SLEEP)


def test_a_command_that_fails_once(tmp_path) -> None:
    path, mark = tmp_path / "x", tmp_path / "mark"
    path.write_bytes(CONTENT)
    command = f"[ -e {mark} ] && exec cat {path}; touch {mark}; head -c 1000 {path}; exit 1"
    assert read(f"pipe:{command}") == CONTENT


def test_files_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "x").write_bytes(CONTENT)
    with pytest.raises(TrainerError, match=r"/y cannot be read: No such file or directory\. Copy"):
        read(str(tmp_path / "y"))
    with pytest.raises(TrainerError, match=r"after 768000 bytes: .* and 2 bytes are missing"):
        read(str(tmp_path / "x"), len(CONTENT) + 2)


@pytest.mark.parametrize("patience", [QUICK, Patience(9, 100.0, 0.01)], ids=["reading", "pausing"])
def test_reading_is_called_off_from_another_thread(patience) -> None:
    before, stop = children(), Event()
    threading.Timer(0.3, stop.set).start()
    since = time.monotonic()
    with (
        closing(RetryingStream(f"pipe:{SLEEP} | cat", 0, patience, stop)) as stream,
        pytest.raises(Stopped),
    ):
        stream.readinto(memoryview(bytearray(10)))
    assert time.monotonic() - since < 2
    assert children() == before
    assert is_gone(SLEEP)


@pytest.mark.parametrize("kind", ["http", "pipe", "folder"])
def test_the_tables_of_a_data_set_are_enough_to_open_it(kind, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serve(dataset.folder.parent) as running:
        name = dataset.folder.name
        places = {"http": f"{running.url}/{name}/", "pipe": f"pipe:cat {dataset.folder}/{{}}"}
        source = places.get(kind, str(dataset.folder))
        fetch_metadata(source, tmp_path / "copy")
        fetch_metadata(source, tmp_path / "copy")
    copy = ShardDataset(tmp_path / "copy")
    assert copy.manifest == dataset.manifest
    assert [v.name for v in copy.videos] == [v.name for v in dataset.videos]
    assert sorted(path.name for path in copy.folder.iterdir()) == ["dataset.json", "videos.jsonl"]


def test_what_is_no_data_set(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    page, rows = tmp_path / "served" / "dataset.json", tmp_path / "served" / "videos.jsonl"
    with serve(tmp_path / "served") as server:

        def refused(message: str) -> None:
            with pytest.raises(TrainerError, match=message):
                fetch_metadata(server.url, tmp_path / "copy")
            assert not (tmp_path / "copy" / "dataset.json").exists()

        refused(r"dataset.json cannot be read: curl: .* 404\. Name the folder that holds")
        page.write_text("<html>Please log in</html>")
        rows.write_text("")
        refused("does not contain what a dataset.json does")
        page.write_text(dataset.manifest.text())
        refused("videos.jsonl beside http.* is not the one")
        rows.unlink()
        refused(r"videos.jsonl cannot be read: curl: \(22\)")
    with pytest.raises(TrainerError, match=r"cannot be read: curl: \(7\)"):
        fetch_metadata(server.url, tmp_path / "copy", QUICK)


def test_a_server_that_is_busy_at_the_start(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serve(dataset.folder) as server:
        server.errors = [503, 429]  # the third answer is whole, and so are those after it
        fetch_metadata(server.url, tmp_path / "copy", QUICK)
        assert server.asked == [*["dataset.json"] * 4, "videos.jsonl"]
        server.asked.clear()
        server.cuts = [10, 20, -1, 30]  # two of the first byte, one of the file itself
        fetch_metadata(server.url, tmp_path / "copy", QUICK)
        assert server.asked == [*["dataset.json"] * 5, "videos.jsonl"]
        for errors, tries in (([500] * 3, 3), ([404], 1), ([410], 1), ([408, 500, 403], 3)):
            server.asked.clear()
            server.errors = list(errors)
            with pytest.raises(TrainerError, match=f"cannot be read: curl: .* {errors[-1]}. Name"):
                fetch_metadata(server.url, tmp_path / "copy", QUICK)
            assert len(server.asked) == tries
