"""An HTTP server on this machine that can misbehave."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """Contents and behaviour of the server."""

    files: dict[str, bytes] = field(default_factory=dict)  # by the path of the request
    tags: dict[str, str] = field(default_factory=dict)  # ETags
    breaks: list[int] = field(default_factory=list)  # bytes after which the next GETs are cut
    ranges: bool = True
    lie: int = 0  # added to Content-Length
    status: list[int] = field(default_factory=list)  # errors returned to the next GETs
    pause: float = 0.0  # seconds after each 64 KiB
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
                self.write(rest[: server.breaks.pop(0)] if server.breaks else rest)

        def write(self, content: bytes) -> None:
            if not server.pause:
                self.wfile.write(content)
                return
            with suppress(ConnectionError):  # the reader stopped before the end
                for start in range(0, len(content), 1 << 16):
                    self.wfile.write(content[start : start + (1 << 16)])
                    time.sleep(server.pause)

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


def no_one() -> str:
    """A URL on this machine where no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
