"""What two processes tell each other, and what one alone does without asking."""

import pytest

from tests.trainer.test_distributed import run_together
from trainer.agreement import all_say, failing_together, on_first
from trainer.errors import TrainerError

TALK = """
from trainer.agreement import all_say, failing_together, is_known_to_all, on_first
from trainer.distributed import this_rank, together
from trainer.errors import TrainerError

class OfThisProgram(Exception):
    def __init__(self, a, b):
        super().__init__(a + b)

def fails(error):
    raise error

def caught(do):
    try:
        return do()
    except Exception as error:
        return f"{type(error).__name__}: {error} {is_known_to_all(error)}"

def body(of, error):
    with failing_together():
        if this_rank().number == of:
            raise error
        return all_say("waits")

with together("cpu") as (rank, device):
    assert rank == this_rank()
    print(all_say(rank.number))
    print(on_first(lambda: rank.number + 5))
    print(caught(lambda: on_first(lambda: fails(TrainerError("of the first")))))
    print(caught(lambda: body(1, TrainerError("of the second"))))
    print(caught(lambda: body(0, OfThisProgram("a", "b"))))
    print(caught(lambda: fails(ValueError("not told"))))
    print(all_say("still together"))
"""


def test_two_processes():
    first, second = (said.splitlines() for said in run_together(2, "-c", TALK))
    told = [
        "[0, 1]",
        "5",
        "TrainerError: of the first True",
        "TrainerError: of the second True",
        "OfThisProgram: ab True",
        "ValueError: not told False",
        "['still together', 'still together']",
    ]
    assert first == told
    told[4] = "RuntimeError: OfThisProgram: ab True"  # it cannot be sent
    assert second == told


def test_one_process():
    assert all_say(3) == [3] and on_first(lambda: 4) == 4
    with pytest.raises(TrainerError, match="mine") as caught, failing_together():
        raise TrainerError("mine")
    assert caught.value.__context__ is None
