"""A signal that comes before a command has begun."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

from ascnet import cli
from tests.processes import begin_ascnet, start

ROOT = Path(__file__).resolve().parents[2]


def stopped_while_it_loads(words: list[str]) -> None:
    """Run `ascnet`, which gets SIGTERM before it looks at its arguments."""
    stop = mock.Mock(side_effect=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with mock.patch.object(cli, "_switch_off_telemetry", stop):
        begin_ascnet(words)


def test_sigterm_before_a_command_has_begun_ends_it_without_a_traceback(tmp_path):
    done = start(stopped_while_it_loads, ["--version"], cwd=tmp_path).end()
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


class AtImport:
    """Sends SIGINT to this process when a module is about to be imported for the first time."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, *_: object) -> None:
        if name == self._module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_numpy_loads_ends_a_command(tmp_path):
    """torch imports numpy from C++, and swallows what is raised there."""
    code = (
        "import sys; from tests.ascnet.test_stopped_early import AtImport; "
        "sys.meta_path.insert(0, AtImport('numpy.matrixlib')); "
        "sys.argv = ['ascnet', 'train', 'nowhere']; from ascnet.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130 and "Stopped." in done.stderr, done.stderr
