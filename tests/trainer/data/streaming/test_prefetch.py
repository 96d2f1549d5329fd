import threading
import time
from collections.abc import Generator
from threading import Event

import pytest

from trainer.data.streaming.prefetch import ReadAhead


def test_what_is_made_ahead_is_bounded_and_in_order() -> None:
    made, closed = [], Event()

    def items(stop: Event) -> Generator[int, None, None]:
        try:
            for number in range(100):
                made.append(number)
                yield number
        finally:
            closed.set()

    before = threading.active_count()
    ahead = ReadAhead(items, 3)
    for number in range(10):
        assert ahead.get() == number
        assert len(made) <= number + 1 + 3 + 1  # the last one waits for room
    while not ahead.has_one():
        time.sleep(0.001)
    ahead.stop()
    ahead.join()
    assert closed.is_set()
    assert len(made) < 20
    assert threading.active_count() == before


def test_an_error_comes_out_where_it_happened() -> None:
    def items(stop: Event) -> Generator[int, None, None]:
        yield 1
        raise KeyError("x")

    ahead = ReadAhead(items, 3)
    assert ahead.get() == 1
    with pytest.raises(KeyError, match="x"):
        ahead.get()
    ahead.join()


def test_a_generator_is_told_to_stop() -> None:
    told = Event()

    def items(stop: Event) -> Generator[int, None, None]:
        stop.wait(10)
        told.set()
        yield 1

    ahead = ReadAhead(items, 3)
    ahead.stop()
    ahead.join()
    assert told.is_set()
