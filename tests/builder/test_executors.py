import threading
import time

import pytest

from builder.executors import run_local


def test_results_come_in_order():
    def slow_start(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i * i

    assert list(run_local(slow_start, range(40), 4)) == [i * i for i in range(40)]


def test_no_more_than_a_bounded_number_runs_ahead():
    started = []

    def note(i: int) -> int:
        started.append(i)
        return i

    results = run_local(note, range(1000), 2)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 16
    results.close()


def test_an_error_stops_the_rest():
    lock, done = threading.Lock(), []

    def fail_at_three(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        with lock:
            done.append(i)
        return i

    with pytest.raises(ValueError, match="three"):
        list(run_local(fail_at_three, range(1000), 2))
    assert len(done) < 50
