"""How a command ended after a signal: soon, without a traceback, and with all its processes."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess

from tests.drills.scene import said_by

_AT_ONCE = 1.0  # seconds that the last step of the work may take
PATIENCE = 30.0  # seconds in which a command has to end, besides those it waits for a core


def problem_of(
    session: int,
    runs: Callable[[], bool],
    end: Callable[[], CompletedProcess[str]],
    number: signal.Signals,
    ran: bool,
) -> str:
    """What is wrong with how a command ended; "": nothing.

    Args:
        session: of all its processes; the number of the first one
        runs: whether the first one still runs
        end: waits for its end
        ran: whether it ran when the signal was sent; otherwise it must have succeeded
    """
    sent = time.monotonic()
    if not _ends(session, runs):
        _kill(session)
        end()
        return f"it still ran {PATIENCE:.0f} s after {number.name}"
    is_at_once = time.monotonic() - sent < _AT_ONCE
    done = end()
    if number == signal.SIGKILL:
        return "" if done.returncode in (0, -number) else f"exit status {done.returncode}"
    if "Traceback" in done.stdout + done.stderr:
        return f"a traceback, {said_by(done)}"
    # Before a command listens, and at its very end, the signal itself ends it: -15, in a shell 143.
    # A signal during the last step finds the work done.
    allowed = (128 + number, -number, *((0,) if is_at_once else ())) if ran else (0,)
    if done.returncode not in allowed:
        return f"exit status {done.returncode} after {number.name}"
    return left_behind(session)


def _ends(process: int, runs: Callable[[], bool]) -> bool:
    """Wait for the end of a process. Returns False if it takes longer than PATIENCE."""
    until = time.monotonic() - _waited(process) + PATIENCE
    while runs():
        if time.monotonic() - _waited(process) > until:
            return False
        time.sleep(0.02)
    return True


def _waited(process: int) -> float:
    """Seconds that a process has waited for a core so far, as it does on a busy machine."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # it has ended
        return math.inf


def left_behind(session: int) -> str:
    """Wait for all processes of a session to end; name those that do not."""
    until = time.monotonic() + PATIENCE
    while names := [name for _, name in _members(session)]:
        if time.monotonic() > until:
            _kill(session)
            return f"a process stayed behind: {', '.join(names)}"
        time.sleep(0.05)
    return ""


def _members(session: int) -> Iterator[tuple[int, str]]:
    """Numbers and names of the processes of a session that have not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, _, rest = path.read_text().partition(" (")
            name, _, fields = rest.rpartition(") ")
            state, _, _, its_session = fields.split()[:4]
            if int(its_session) == session and state not in "ZX":
                yield int(number), name


def _kill(session: int) -> None:
    for number, _ in _members(session):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
