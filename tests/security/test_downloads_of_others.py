"""What comes from a server or out of an archive is no larger than it can be, and lies where it is
meant to."""

import gzip
import hashlib
import io
import tarfile
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from builder.download import official, unpack
from builder.download.fetch import FetchSettings, fetch
from builder.download.http import (
    Download,
    DownloadSettings,
    _SafeRedirects,
    ask_size,
    download,
)
from builder.download.official import KINETICS400, UCF101
from builder.errors import BuilderError
from tests.builder.download.archives import (
    LISTS,
    RAR,
    VIDEOS,
    ZIP,
    files_in,
    rar_of,
    tar_of,
    tool,
    zip_of,
)
from tests.builder.download.server import Server, serve
from tests.commands import refused
from trainer.data.streaming import retrying as remote
from trainer.data.streaming.retrying import Patience, fetch_metadata
from trainer.data.streaming.transport import _followed, curl_says
from trainer.errors import TrainerError

QUICK = DownloadSettings(tries=2, pause=0.001, timeout=10)
PIECE = bytes(1 << 16)

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The address of a server that answers every GET as it likes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            with suppress(OSError):  # the other side has enough
                answer(self)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def said(status: int, *headers: tuple[str, str], body: bytes = b"") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for header in headers:
            handler.send_header(*header)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def chunked(*pieces: bytes, ends: bool = True) -> Answer:
    end = b"0\r\n\r\n" if ends else b""
    return said(200, ("Transfer-Encoding", "chunked"), body=b"".join(map(chunk, pieces)) + end)


def endless(handler: BaseHTTPRequestHandler) -> None:
    is_probe = bool(handler.headers["Range"])
    said(206 if is_probe else 200)(handler)
    while not is_probe:
        handler.wfile.write(PIECE)


def endless_chunks(handler: BaseHTTPRequestHandler) -> None:
    chunked(ends=False)(handler)
    while True:
        handler.wfile.write(chunk(PIECE))


def sent_on(to: str) -> Answer:
    return said(302, ("Location", to), ("Content-Length", "0"))


# Tables of a data set on a server.


def test_an_endless_dataset_json_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "LARGEST_INFO", 3 * 10**6)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with answering(endless) as url:
        words = refused("train", f"{url}/endless", cwd=tmp_path)
    assert f"{url}/endless/dataset.json has more than 3 MB" in words
    assert not list(tmp_path.iterdir())
    words = refused("train", "pipe:cat /dev/zero # {}", cwd=tmp_path)
    assert "has more than 3 MB" in words


def test_an_endless_videos_jsonl_is_as_long_as_dataset_json_lets_it_be(dataset, tmp_path):
    info = f"{dataset.folder}/dataset.json"
    source = f"pipe:case {{}} in dataset*) cat {info};; *) cat /dev/zero; esac"
    with pytest.raises(TrainerError, match=r"case videos.jsonl .* has more than \d MB"):
        fetch_metadata(source, tmp_path / "copy")
    assert not list((tmp_path / "copy").glob("dataset.json*"))


def test_half_of_the_disk_is_left_free(dataset, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(TrainerError, match="does not fit on the disk of"):
        fetch_metadata(str(dataset.folder), tmp_path / "copy")


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "gopher://a/b"])
def test_a_server_sends_no_reader_to_a_file(tmp_path, to):
    with answering(sent_on(to)) as url:
        assert "Protocol" in curl_says(f"{url}/x")
        with pytest.raises(TrainerError, match="cannot be read"):
            fetch_metadata(url, tmp_path / "copy", Patience(1, 0.001))
        with pytest.raises(BuilderError, match=r"does not give .*/x \("):
            get(f"{url}/x", tmp_path)
        assert ask_size(f"{url}/x", QUICK, "") is None


@pytest.mark.parametrize("to", ["http://[::1/x", "http://127.0.0.1:70000/x", "http://a:b/x"])
def test_a_server_sends_to_an_address_that_is_none(tmp_path, to):
    with answering(sent_on(to)) as url, pytest.raises(BuilderError, match="does not come: 2 tries"):
        get(f"{url}/x", tmp_path)


@pytest.mark.parametrize("length", ["9" * 5000, "\xb2", "-5", "+5", "1_0"])
def test_a_length_that_is_no_number(tmp_path, length):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(
            f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nx".encode("latin-1")
        )

    with answering(answer) as url, pytest.raises(BuilderError, match="does not say how long"):
        get(f"{url}/x", tmp_path)


def test_a_range_that_is_no_number(tmp_path):
    headers = ("ETag", '"a"'), ("Content-Length", "5"), ("Content-Range", f"bytes {'9' * 5000}-5/*")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        said(206 if handler.headers["Range"] else 200, *headers, body=b"x")(handler)

    with answering(answer) as url, pytest.raises(BuilderError, match="does not come: 2 tries"):
        get(f"{url}/x", tmp_path)


@pytest.mark.parametrize("place", ["http://[::1", "http://a:b", "http://:80", "http://a:70000"])
def test_a_mirror_whose_address_is_none(tmp_path, place):
    words = refused("fetch", "kinetics400", "--base-url", place, cwd=tmp_path)
    assert f"--base-url is '{place}'; it must begin with http" in words


@pytest.mark.parametrize("to", ["http://h/x", "ftp://h/x", "file:///x"])
def test_https_is_never_sent_on_to_less(to):
    with pytest.raises(HTTPError, match="sent on from https"):
        _SafeRedirects().redirect_request(
            Request("https://h/x"), io.BytesIO(), 302, "Found", None, to
        )
    ask = Request("https://h/x"), io.BytesIO(), 302, "Found", {}, "https://other/x"
    assert _SafeRedirects().redirect_request(*ask).full_url == "https://other/x"


def test_curl_is_told_the_same():
    assert _followed("https://h/x")[-1] == "=https"
    assert _followed("http://h/x")[-1] == "=http,https"


# Downloads.


def get(url: str, folder: Path, limit: int | None = None) -> bytes:
    file = Download(url, folder / "a", folder / "note", "get it by hand", limit)
    download(file, QUICK)
    return file.path.read_bytes()


def test_an_end_that_could_be_any_is_no_end(tmp_path):
    cut_anywhere = said(200, body=b"cut anywhere")
    with answering(cut_anywhere) as url, pytest.raises(BuilderError, match="does not say how long"):
        get(url, tmp_path)
    with answering(chunked(b"12", b"345")) as url:
        assert get(url, tmp_path) == b"12345"
    (tmp_path / "a").unlink()
    with (
        answering(chunked(b"12", ends=False)) as url,
        pytest.raises(BuilderError, match="not come"),
    ):
        get(url, tmp_path)
    assert not (tmp_path / "a").exists()


def test_no_more_is_taken_than_the_official_file_has(tmp_path):
    with answering(endless_chunks) as url, pytest.raises(BuilderError, match="more than 1 MB"):
        get(url, tmp_path, limit=10**6)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000
    with serve() as server:
        server.files["/a"], server.lie = b"x", 10**12
        with pytest.raises(BuilderError, match="more than 1 MB"):
            get(f"{server.url}/a", tmp_path, limit=10**6)


def test_a_note_of_others_fills_nothing(tmp_path):
    """It may say that a file goes on for ever, or hold what breaks a request."""
    with serve() as server:
        server.files["/a"], server.tags["/a"] = b"content", '"1"'
        for total, tag in ((10**15, '"1"'), ("x", '"1"'), (7, '"1"\r\nX: y'), (None, 3)):
            (tmp_path / "a.part").write_bytes(b"con")
            text = '{"url": "%s/a", "validator": %s, "total": %s}'
            words = (server.url, *(repr(w).replace("'", "") for w in (tag, total)))
            (tmp_path / "note").write_text(text % words)
            assert get(f"{server.url}/a", tmp_path, 100) == b"content"
            (tmp_path / "a").unlink()


@pytest.mark.parametrize("name", ["a.part", "note"])
def test_a_download_writes_through_no_link(tmp_path, name):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / name).symlink_to("mine")
    with serve() as server:
        server.files["/a"] = b"theirs"
        with pytest.raises(BuilderError, match=f"{name} is a link"):
            get(f"{server.url}/a", tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


# Archives.


def out_of(content: bytes, tmp_path: Path, **options: object) -> dict[str, bytes]:
    (tmp_path / "a.bin").write_bytes(content)
    unpack.unpack(tmp_path / "a.bin", tmp_path / "out", **options)
    return files_in(tmp_path / "out")


def sparse_tar(size: int) -> bytes:
    """A GNU sparse member (tar's type S) of nothing but a hole."""
    info = tarfile.TarInfo("UCF-101/hole")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[483:495] = b"%011o\0" % size
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def zip_of_zeros(size: int) -> bytes:
    return zip_of({"zeros": bytes(size)})


BOMBS = {
    "sparse tar": lambda: gzip.compress(sparse_tar(300 * 10**6)),
    "plain sparse tar": lambda: sparse_tar(10**9),
    "zip": lambda: zip_of_zeros(101 * 10**6),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_an_archive_that_grows_too_much_is_refused(tmp_path, kind):
    with pytest.raises(BuilderError, match=r"is refused, and nothing of it was written: unpacked"):
        out_of(BOMBS[kind](), tmp_path)
    assert not (tmp_path / "out").exists()


def tar_with(**headers: str) -> bytes:
    buffer, info = io.BytesIO(), tarfile.TarInfo("a.mp4")
    info.pax_headers = {name.replace("_", "."): value for name, value in headers.items()}
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_with(GNU_sparse_map="x"),
        tar_with(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="x"),
        tar_with(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="5"),
        zip_of({"\u00fc.mp4": b"x"}).replace("\u00fc".encode(), b"\xff\xff"),  # no text
    ],
)
def test_headers_that_are_nonsense(tmp_path, content):
    with pytest.raises(BuilderError, match=r"a\.bin cannot be unpacked \("):
        out_of(content, tmp_path)


def test_headers_that_fill_the_memory(tmp_path):
    for content in (tar_with(comment="x" * (1 << 20)), tar_of({"a" * (1 << 21): b"x"})):
        with pytest.raises(BuilderError, match=r"a header has \d+ bytes, and 1048576 are allowed"):
            out_of(gzip.compress(content), tmp_path)
    assert out_of(tar_with(comment="x" * 100_000), tmp_path) == {"a.mp4": b""}
    large = {"a.mp4": bytes(5 << 20)}  # of what is in a file, blocks are read, too
    assert out_of(tar_of(large), tmp_path) == large


def test_what_official_archives_grow_by_is_fine(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "SMALL", 1000)
    lists = {f"ucfTrainTestlist/{i}.txt": b"ApplyEyeMakeup/v_1_g0_c0.avi 1\n" * 9 for i in range(9)}
    assert out_of(zip_of(lists), tmp_path) == lists
    with pytest.raises(BuilderError, match="is refused, and nothing"):
        out_of(zip_of_zeros(100_000), tmp_path)


def test_archives_in_an_archive_have_one_limit_together(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "SMALL", 5000)
    monkeypatch.setattr(unpack, "MOST_GROWTH", 1)
    outer = zip_of({f"{i}.rar": zip_of_zeros(2000) for i in range(9)})
    with pytest.raises(BuilderError, match=r"\.rar in a\.bin is refused"):
        out_of(outer, tmp_path, holds_rars=True)


def test_an_archive_that_the_disk_has_no_room_for(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda path: usage(10))
    with pytest.raises(BuilderError, match="has not enough room"):
        out_of(zip_of({"a": b"x" * 11}), tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", [zip_of, tar_of, rar_of])
def test_more_members_than_any_archive_has(tmp_path, monkeypatch, make):
    monkeypatch.setattr(unpack, "MOST_MEMBERS", 10)
    with pytest.raises(BuilderError, match="more than 10 members"):
        out_of(make({f"{i}": b"" for i in range(11)}), tmp_path)
    assert len(out_of(make({f"{i}": b"" for i in range(10)}), tmp_path)) == 10


def test_a_gz_that_goes_on_after_its_last_member(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "SMALL", 10**6)
    with pytest.raises(BuilderError, match="goes on and on"):
        out_of(gzip.compress(tar_of({"a": b"1"}) + bytes(20 * 10**6)), tmp_path)


@pytest.mark.parametrize("name", ["a\x1b[2J.avi", "a\nb", "x/\x07", "a\x7f"])
@pytest.mark.parametrize("make", [zip_of, tar_of, rar_of])
def test_names_that_move_the_cursor_are_refused(tmp_path, make, name):
    with pytest.raises(BuilderError, match="control characters in its name") as caught:
        out_of(make({"good": b"1", name: b"2"}), tmp_path)
    assert "\x1b" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# `ascnet fetch`.


@pytest.fixture
def archives(tmp_path, monkeypatch) -> Iterator[Server]:
    tool(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(official, "PUBLISHED", {})
    with serve() as server:
        server.files |= {RAR: rar_of(VIDEOS), ZIP: zip_of(LISTS)}
        yield server


def fetched(server: Server, folder: Path, dataset=UCF101, parts=()) -> None:
    fetch(dataset, folder, FetchSettings(server.url, download=QUICK), parts)


@pytest.mark.parametrize(
    "name",
    [".fetch/UCF101.rar.json", ".fetch", ".lock", ".LOCK", "UCF101.rar", "ucf101.rar.part"],
)
def test_an_archive_brings_nothing_that_is_ours(archives, tmp_path, name):
    archives.files[ZIP] = zip_of(LISTS | {name: b"theirs"})
    with pytest.raises(BuilderError, match="is not an archive's to bring"):
        fetched(archives, tmp_path / "to")
    assert b"theirs" not in files_in(tmp_path / "to").values()


@pytest.mark.parametrize(
    "name", ["UCF-101", "UCF-101/Archery", ".fetch", ".fetch/unpacking", "UCF101.rar.part", ".lock"]
)
def test_fetch_writes_through_no_link(archives, tmp_path, name):
    mine, to = tmp_path / "mine", tmp_path / "to"
    mine.mkdir()
    (to / name).parent.mkdir(parents=True)
    (to / name).symlink_to(mine if "." not in name or "fetch" in name else mine / "file")
    with pytest.raises(BuilderError, match=f"{name} is a link"):
        fetched(archives, to)
    assert not list(mine.iterdir())


def test_the_folder_itself_may_be_a_link(archives, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "to").symlink_to("disk")
    fetched(archives, tmp_path / "to")
    assert set(VIDEOS) <= set(files_in(tmp_path / "disk"))


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{}", b"\xff", b'{"bytes": [], "files": 1}'])
def test_a_record_of_others_is_named(archives, tmp_path, content):
    fetched(archives, tmp_path / "to")
    (tmp_path / "to" / ".fetch" / "UCF101.rar.json").write_bytes(content)
    with pytest.raises(BuilderError, match=r"UCF101\.rar\.json is not what a fetch wrote"):
        fetched(archives, tmp_path / "to")


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_file_is_the_published_one(archives, tmp_path, monkeypatch, algorithm, by_hand):
    digest = hashlib.new(algorithm, archives.files[ZIP]).hexdigest()
    url = UCF101.files[1].url
    monkeypatch.setattr(
        official, "PUBLISHED", {url: official.PublishedFile(algorithm, digest, "us")}
    )
    fetched(archives, tmp_path / "good")
    archives.files[ZIP] = zip_of({"ucfTrainTestlist/x": b"y"})
    if by_hand:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / UCF101.files[1].name).write_bytes(archives.files.pop(ZIP))
    with pytest.raises(BuilderError, match=f"not the official file: its {algorithm} is .* us publ"):
        fetched(archives, tmp_path / "bad")
    assert not (tmp_path / "bad" / "ucfTrainTestlist").exists()


def test_what_is_published_is_of_files_that_are_fetched():
    urls = {file.url for dataset in official.DATASETS.values() for file in dataset.files}
    assert set(official.PUBLISHED) <= urls
    for known in official.PUBLISHED.values():
        assert len(known.digest) == 2 * hashlib.new(known.algorithm).digest_size


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"https://elsewhere/part_0.tar.gz", "is not on s3.amazonaws.com"),
        (b"http://s3.amazonaws.com/part_0.tar.gz", "is not on s3.amazonaws.com"),
        (b"https://s3.amazonaws.com@elsewhere/part_0.tar.gz", "is not on s3.amazonaws.com"),
        (b"https://s3.amazonaws.com/a%0Ab.tar.gz", "is no URL of a .tar.gz"),
        (b"file:///etc/x.tar.gz", "is no URL of a .tar.gz"),
        (b"https://[x/part_0.tar.gz", "is no URL of a .tar.gz"),
    ],
)
def test_a_list_names_what_is_on_its_own_server(archives, tmp_path, line, problem):
    place = "/kinetics/400"
    archives.files[f"{place}/val/k400_val_path.txt"] = line
    archives.files[f"{place}/annotations/val.csv"] = b"x"
    with pytest.raises(BuilderError, match="line 1") as caught:
        fetched(archives, tmp_path / "to", KINETICS400, ("val",))
    assert problem in str(caught.value)
