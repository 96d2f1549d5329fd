"""What the ranks of one command tell each other: a choice of rank 0, an error of any of them.

All of it waits as long as it takes, and ends at once where another process has ended. A rank that
fails says so at the others' next call here, whichever that is, and it is raised there. Nobody
listens but the processes that `together` joined.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch.distributed as dist

from trainer.distributed import (
    LostRankError,
    is_known_to_all,
    make_known,
    talking_group,
    this_rank,
)

Value = TypeVar("Value")


def all_say(words: Value) -> list[Value]:
    """What every rank says, in their order. Raises the error of a rank that has failed instead: its
    own on that one, the first of them on the others."""
    return _exchange(words, None)


def on_first(work: Callable[[], Value]) -> Value:
    """Let rank 0 do some work while the others wait: what comes of it comes back on all ranks, and
    what it raises is raised on all. No call of this file may be in it."""
    rank = this_rank()
    if rank.world == 1:
        return work()
    value, error = None, None
    if rank.number == 0:
        try:
            value = work()
        except Exception as raised:
            error = raised
    return cast(Value, _exchange(value, error)[0])


def from_first(value: Value) -> Value:
    """Rank 0's value, on all ranks: for what is large, such as weights. No error is told by it."""
    box = [value]
    if this_rank().world > 1:
        dist.broadcast_object_list(box, group=talking_group())
    return box[0]


@contextmanager
def failing_together() -> Iterator[None]:
    """What one rank raises in the body is raised on all of them, and they leave it together. (Not
    for bodies in which ranks wait for each other in another way than by the calls of this file.)"""
    try:
        yield
    except LostRankError:
        raise
    except Exception as error:
        if not is_known_to_all(error):
            _exchange(None, error)
        raise
    _exchange(None, None)


def _exchange(words: Value, error: Exception | None) -> list[Value]:
    rank = this_rank()
    if rank.world == 1:
        if error is not None:
            raise error
        return [words]
    said: list[tuple[Value, Exception | None]] = [(words, None)] * rank.world
    message = (words, None if error is None else _to_send(error))
    try:
        dist.all_gather_object(said, message, group=talking_group())
    except RuntimeError as lost:
        raise LostRankError from lost
    first = next((e for _, e in said if e is not None), None)
    if (raised := error or first) is not None:
        raise make_known(raised)
    return [theirs for theirs, _ in said]


def _to_send(error: Exception) -> Exception:
    """The error itself, or its text where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
