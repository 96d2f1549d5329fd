"""Start processes that have torch already imported, which otherwise takes each of them seconds.

They are forked from a server process that has imported torch and computed nothing. Tests of the
start itself (the entry point, the order of imports) use `subprocess`.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any

from ascnet import cli

_FORKED = multiprocessing.get_context("forkserver")
# The first step of an optimiser imports torch._dynamo, if nothing has before.
_FORKED.set_forkserver_preload(["torch._dynamo", "trainer.pretrain", "evaluate.tasks", __name__])


@dataclass(frozen=True)
class Running:
    """A started process, and the files that its stdout and stderr go to."""

    process: BaseProcess
    out: IO[str]
    err: IO[str]

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def runs(self) -> bool:
        return self.process.is_alive()

    def said(self) -> str:
        """What it has written to stdout so far."""
        self.out.seek(0)
        return self.out.read()

    def end(self, timeout: float = 120) -> CompletedProcess[str]:
        """Wait for its end; return its exit status (minus the number of a signal that killed it)
        and its output. Raises AssertionError after `timeout` seconds."""
        self.process.join(timeout)
        self.err.seek(0)
        errors = self.err.read()
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"It still ran after {timeout} s. {self.said()}{errors}")
        return CompletedProcess([], self.process.exitcode, self.said(), errors)


def start(main: Callable[..., object], *arguments: Any, cwd: Path, **environment: str) -> Running:
    """Start `main(*arguments)`, a function at module level, in a process of its own."""
    out, err = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
    paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
    variables = dict(os.environ) | environment
    process = _FORKED.Process(target=_begin, args=(paths, cwd, variables, main, arguments))
    process.start()
    return Running(process, out, err)


def start_ascnet(*words: object, cwd: Path, **environment: str) -> Running:
    """Start `ascnet` with these arguments."""
    return start(begin_ascnet, [str(word) for word in words], cwd=cwd, **environment)


def begin_ascnet(words: list[str]) -> None:
    """Run `ascnet` with these arguments as the main program of this process."""
    sys.argv = ["ascnet", *words]
    cli.main()


def begin_in_session(words: list[str]) -> None:
    """Run `ascnet` as the main program of this process, in a session of its own."""
    os.setsid()
    begin_ascnet(words)


def _begin(
    paths: list[str],
    cwd: Path,
    variables: dict[str, str],
    main: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    for number, path in enumerate(paths, 1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    main(*arguments)
