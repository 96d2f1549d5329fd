"""Child processes that decode: none outlives its time limit, or the build."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from builder.errors import BuilderError

Process = subprocess.Popen[bytes]


class Children:
    """Starts child processes, at most `at_once` at a time, and kills all that still run when the
    `with` block is left or `stop` is called. Thread-safe."""

    def __init__(self, at_once: int = 1) -> None:
        self._turns = threading.Semaphore(at_once)
        self._lock = threading.Lock()
        self._running: set[Process] = set()
        self.idle: list[Process] = []
        self._stopped = False

    @contextmanager
    def start(self, command: list[str], **pipes: Any) -> Iterator[Process]:
        """Start a process, which is killed when the block is left. Raises BuilderError after
        `stop`."""
        with self._turns:
            process = self._new(command, **pipes)
            try:
                yield process
            finally:
                self.end(process)

    @contextmanager
    def borrow(self, command: list[str], **pipes: Any) -> Iterator[Process]:
        """Borrow an idle process, or start one. When the block is left, it becomes idle again,
        unless it has ended (see `end`) or the block raised. Raises BuilderError after `stop`."""
        with self._turns:
            process = self._idle_one() or self._new(command, **pipes)
            try:
                yield process
            except BaseException:
                self.end(process)
                raise
            with self._lock:
                if process in self._running:
                    self.idle.append(process)

    def _idle_one(self) -> Process | None:
        while True:
            with self._lock:
                if not self.idle:
                    return None
                process = self.idle.pop()
            if process.poll() is None:
                return process
            self.end(process)  # it was killed from outside while it was idle

    def _new(self, command: list[str], **pipes: Any) -> Process:
        process = subprocess.Popen(command, **pipes)
        with self._lock:
            self._running.add(process)
            stopped = self._stopped
        if stopped:
            self.end(process)
            raise BuilderError("The build was stopped.")
        return process

    def end(self, process: Process) -> int:
        """Kill the process if it runs; return its exit status, negative for a signal."""
        if process.poll() is None:
            process.kill()
        status = process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):  # unread input does not matter any more
                    pipe.close()
        with self._lock:
            self._running.discard(process)
        return status

    def must_go_on(self) -> None:
        """Raise BuilderError after `stop`; to be called regularly by long work in this process."""
        if self._stopped:
            raise BuilderError("The build was stopped.")

    def stop(self) -> None:
        """Kill all running processes, and let no other start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for process in self.idle:
            self.end(process)


@contextmanager
def time_limit(process: Process, seconds: float) -> Iterator[threading.Event]:
    """Kill the process after `seconds`; the event is then set."""
    expired = threading.Event()

    def kill() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def limit_memory(process: Process, memory: int) -> None:
    """Limit a process to `memory` bytes of writable private memory (Linux, RLIMIT_DATA). Its code,
    and memory that allocators and threads only reserve, do not count."""
    # The process may have ended, and some containers forbid it.
    with suppress(OSError, ValueError):
        hard = resource.prlimit(process.pid, resource.RLIMIT_DATA)[1]
        soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (soft, hard))


@cache
def ending_with_parent() -> list[str]:
    """Prefix of a command that makes the system kill it when the thread that started it ends, as a
    killed builder cannot. Empty if util-linux is not installed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def end_with_parent(parent: int | None = None) -> None:
    """Make the system kill this process when its parent ends (Linux, prctl(2), PR_SET_PDEATHSIG =
    1). If `parent`, the PID of the process that started it, is gone already, the system would not
    do so: exit at once."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
