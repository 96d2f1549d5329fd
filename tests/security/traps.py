"""Traps that reveal whether a hostile file made the program run a command or open a connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trap:
    """A file that exists once a command has been run."""

    path: Path

    def command(self, then: str) -> str:
        return f"pipe:touch {self.path}; {then}"

    @property
    def is_sprung(self) -> bool:
        return self.path.exists()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Run a server that closes every connection; yield its address and a list of connections."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    asked.append("called")
                    caller.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)
