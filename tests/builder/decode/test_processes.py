import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.decode import pyav as pyav_engine
from builder.decode.processes import Children, time_limit
from builder.errors import BuilderError

SLEEP = ["sleep", "60"]


def test_a_process_is_dead_when_the_block_is_left():
    with Children() as children, children.start(SLEEP) as process:
        assert process.poll() is None
    assert process.returncode == -9


def test_stop_kills_what_runs_and_lets_nothing_start():
    with Children(at_once=2) as children, children.start(SLEEP) as process:
        children.stop()
        assert process.wait(5) == -9
        with pytest.raises(BuilderError, match="was stopped"), children.start(SLEEP):
            pytest.fail("it started")


def test_an_idle_process_is_borrowed_again():
    with Children(at_once=2) as children:
        with children.borrow(SLEEP) as first, children.borrow(SLEEP) as other:
            assert first is not other
        with children.borrow(SLEEP) as again:
            assert again in (first, other)
            children.end(again)
        with pytest.raises(KeyError), children.borrow(SLEEP) as last:
            raise KeyError
        assert last.returncode == -9
        assert children.idle == []
    assert first.wait(5) == other.wait(5) == -9


def test_no_more_than_so_many_at_once():
    running, most = [], []

    def work(i: int) -> None:
        with children.start(SLEEP):
            running.append(i)
            most.append(len(running))
            time.sleep(0.01)
            running.remove(i)

    with Children(at_once=2) as children, ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    assert max(most) == 2


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
from builder.decode.processes import end_with_parent
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


def test_a_worker_whose_parent_is_gone_before_it_began_takes_no_video(make_video, tmp_path):
    # It imports for a second, and the question is in its pipe by then: it would decode to the end,
    # however long that takes, for nobody is left who keeps the time.
    make_video(tmp_path / "a.avi", frames=3)
    with subprocess.Popen(["true"]) as gone:
        pass
    home = str(Path(pyav_engine.__file__).parent.parent)
    started = time.monotonic()
    command = [sys.executable, "-P", "-c", pyav_engine._START, home, str(gone.pid)]
    question = json.dumps({"path": str(tmp_path / "a.avi")}).encode() + b"\n"
    done = subprocess.run(command, input=question, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert time.monotonic() - started < 10


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
