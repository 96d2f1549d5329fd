import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.children import Children, time_limit
from builder.errors import BuilderError

SLEEP = ["sleep", "60"]


def test_a_process_is_dead_when_the_block_is_left():
    with Children() as children, children.start(SLEEP) as process:
        assert process.poll() is None
    assert process.returncode == -9


def test_stop_kills_what_runs_and_lets_nothing_start():
    with Children() as children, children.start(SLEEP) as process:
        children.stop()
        assert process.wait(5) == -9
        with pytest.raises(BuilderError, match="was stopped"), children.start(SLEEP):
            pytest.fail("it started")


def test_an_idle_process_is_taken_again():
    with Children() as children:
        first = children.take(SLEEP)
        children.give_back(first)
        assert children.take(SLEEP) is first
        other = children.take(SLEEP)
        assert other is not first
        children.give_back(other)
    assert first.wait(5) == other.wait(5) == -9


def test_time_limit():
    with Children() as children, children.start(SLEEP) as process:
        with time_limit(process, 0.05) as expired:
            assert process.wait(5) == -9
        assert expired.is_set()
    with Children() as children, children.start(["true"]) as process:
        with time_limit(process, 30) as expired:
            process.wait()
        assert not expired.is_set()


CHILD = """
import time
from builder.children import end_with_parent
end_with_parent()
print(1, flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_ends_with_its_parent():
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _runs(pid):
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
