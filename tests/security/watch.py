"""Watch which files, programs and servers this process accesses while it reads hostile files."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_ASKS = ("socket.connect", "socket.getaddrinfo", "urllib.Request")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Records forbidden accesses in `seen`, one line each."""

    def __init__(self, inside: Path, secrets: tuple[Path, ...], starts: tuple[str, ...]) -> None:
        self._inside, self._secrets, self._programs = inside.resolve(), secrets, starts
        self.seen: list[str] = []

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                self._opened(Path(os.fsdecode(path)), int(str(flags)))
        elif event in _STARTS:
            program = Path(os.fsdecode(str(arguments[0] if arguments else ""))).name
            if not program.startswith(self._programs):
                self.seen.append(f"{event} {arguments!r:.200}")
        elif event in _ASKS:
            self.seen.append(f"{event} {arguments!r:.200}")

    def _opened(self, path: Path, flags: int) -> None:
        real = Path(os.path.realpath(path))
        if any(real.is_relative_to(secret) for secret in self._secrets):
            self.seen.append(f"reads {path}")
        if flags & _WRITES and not real.is_relative_to(self._inside) and str(real) != os.devnull:
            self.seen.append(f"writes {path}")


_watches: list[Watch] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    for watch in _watches:
        watch.note(event, arguments)


@contextmanager
def watching(
    inside: Path, secrets: tuple[Path, ...] = (), starts: tuple[str, ...] = ()
) -> Iterator[Watch]:
    """Record accesses that are forbidden in the block: files may be written only below `inside`,
    `secrets` may not be read, and only programs whose names begin with one of `starts` may be
    started. Python's audit hooks cannot be removed, so all blocks share one."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    watch = Watch(inside, tuple(secret.resolve() for secret in secrets), starts or ("\0",))
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)
