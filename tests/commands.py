"""Run `ascnet` commands in this process, as importing torch in a new one takes seconds."""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from ascnet import cli

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


def run_ascnet(*words: object, cwd: Path, **environment: str) -> CompletedProcess[str]:
    """Run `ascnet` with these arguments in a folder; return its exit status and output. Asserts
    that it prints no traceback."""
    arguments = ["ascnet", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    status, before = 0, {number: signal.getsignal(number) for number in _SIGNALS}
    with (
        contextlib.chdir(cwd),
        mock.patch.object(sys, "argv", arguments),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    assert "Traceback" not in err.getvalue()
    return CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def refused(*words: object, cwd: Path) -> str:
    """Run a command that must fail; return its stderr."""
    result = run_ascnet(*words, cwd=cwd)
    assert result.returncode != 0, result.stdout
    return result.stderr
