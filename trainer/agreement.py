"""Exchange Python objects and errors between the ranks of one command.

Calls have no timeout, but end at once if another process has ended. An error of one rank is raised
on the others in their next call of this file, whichever it is. Only the processes that `together`
joined take part.
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


def all_say(value: Value) -> list[Value]:
    """Gather an object from every rank, in rank order. If ranks have failed, raises instead: a
    failed rank its own error, the others that of the first failed rank."""
    return _exchange(value, None)


def on_first(work: Callable[[], Value]) -> Value:
    """Run `work` on rank 0 while the others wait. Its result is returned, or its exception raised,
    on all ranks. `work` must not call functions of this file."""
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
    """Broadcast rank 0's value to all ranks; for large values, such as weights. Passes on no
    errors."""
    box = [value]
    if this_rank().world > 1:
        dist.broadcast_object_list(box, group=talking_group())
    return box[0]


@contextmanager
def failing_together() -> Iterator[None]:
    """Raise an exception of one rank's body on all ranks, at its end. (Not for bodies in which
    ranks wait for each other by other means than the functions of this file.)"""
    try:
        yield
    except LostRankError:
        raise
    except Exception as error:
        if not is_known_to_all(error):
            _exchange(None, error)
        raise
    _exchange(None, None)


def _exchange(value: Value, error: Exception | None) -> list[Value]:
    rank = this_rank()
    if rank.world == 1:
        if error is not None:
            raise error
        return [value]
    gathered: list[tuple[Value, Exception | None]] = [(value, None)] * rank.world
    message = (value, None if error is None else _to_send(error))
    try:
        dist.all_gather_object(gathered, message, group=talking_group())
    except RuntimeError as lost:
        raise LostRankError from lost
    first = next((e for _, e in gathered if e is not None), None)
    if (raised := error or first) is not None:
        raise make_known(raised)
    return [theirs for theirs, _ in gathered]


def _to_send(error: Exception) -> Exception:
    """The error itself, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
