"""What two processes tell each other, and what one alone does without asking."""

from collections.abc import Callable

import pytest

from tests.trainer.ranks import run_together
from trainer.agreement import all_say, failing_together, on_first
from trainer.distributed import is_known_to_all, this_rank, together
from trainer.errors import TrainerError


class OfThisProgramError(Exception):
    """Cannot be sent to another process: its arguments are others than the text."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(a + b)


def caught(do: Callable[[], object]) -> object:
    try:
        return do()
    except Exception as error:
        return f"{type(error).__name__}: {error} {is_known_to_all(error)}"


def fail(error: Exception) -> None:
    raise error


def ask_while(of: int, error: Exception) -> object:
    """What the others say, where process `of` fails."""
    with failing_together():
        if this_rank().number == of:
            raise error
        return all_say("waits")


def talk() -> None:
    with together("cpu") as (rank, _):
        assert rank == this_rank()
        print(all_say(rank.number))
        print(on_first(lambda: rank.number + 5))
        print(caught(lambda: on_first(lambda: fail(TrainerError("of the first")))))
        print(caught(lambda: ask_while(1, TrainerError("of the second"))))
        print(caught(lambda: ask_while(0, OfThisProgramError("a", "b"))))
        print(caught(lambda: fail(ValueError("not told"))))
        print(all_say("still together"))


def test_two_processes(tmp_path):
    first, second = (said.splitlines() for said in run_together(2, talk, cwd=tmp_path))
    told = [
        "[0, 1]",
        "5",
        "TrainerError: of the first True",
        "TrainerError: of the second True",
        "OfThisProgramError: ab True",
        "ValueError: not told False",
        "['still together', 'still together']",
    ]
    assert first == told
    told[4] = "RuntimeError: OfThisProgramError: ab True"  # it cannot be sent
    assert second == told


def test_one_process():
    assert all_say(3) == [3] and on_first(lambda: 4) == 4
    with pytest.raises(TrainerError, match="mine") as caught, failing_together():
        raise TrainerError("mine")
    assert caught.value.__context__ is None
