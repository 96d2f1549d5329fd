"""A signal that comes before a command has begun."""

import os
import signal
from unittest import mock

from ascnet import cli
from tests.processes import begin_ascnet, start


def stopped_while_it_loads(words: list[str]) -> None:
    """Run `ascnet`, which gets SIGTERM before it looks at its arguments."""
    stop = mock.Mock(side_effect=lambda: os.kill(os.getpid(), signal.SIGTERM))
    with mock.patch.object(cli, "_switch_off_telemetry", stop):
        begin_ascnet(words)


def test_sigterm_before_a_command_has_begun_ends_it_without_a_traceback(tmp_path):
    done = start(stopped_while_it_loads, ["--version"], cwd=tmp_path).end()
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
