import threading
import time

import pytest

from builder.workers import run_local


def test_every_item_once_and_ready_ones_first():
    slow = threading.Event()

    def wait_at_zero(i: int) -> int:
        if i == 0:
            slow.wait(10)
        return i * i

    results = run_local(wait_at_zero, range(40), 4)
    first = [next(results) for _ in range(30)]
    slow.set()
    assert 0 not in first
    assert sorted([*first, *results]) == [i * i for i in range(40)]


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


def test_stop_ends_what_runs():
    stopped = threading.Event()

    def work(i: int) -> int:
        if i:
            stopped.wait(30)  # as a decoder that nobody stops would
        return i

    results = run_local(work, range(1000), 2, stop=stopped.set)
    next(results)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 10
