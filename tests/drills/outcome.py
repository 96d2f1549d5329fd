"""What came of a drill."""

from dataclasses import dataclass

from builder import text_table


@dataclass(frozen=True)
class Outcome:
    """A drill, done several times.

    Attributes:
        lost: tries after which the same command did not finish the work
        wrong: tries that ended otherwise than an undisturbed run, in a traceback, or in silence
        note: what was seen, or why it could not be tried
    """

    drill: str
    tries: int
    lost: int
    wrong: int
    note: str = ""


def table(outcomes: list[Outcome]) -> str:
    """As docs/reliability.md has it."""
    head = ["drill", "tries", "lost", "wrong", "note"]
    rows = [[o.drill, str(o.tries), str(o.lost), str(o.wrong), o.note] for o in outcomes]
    return text_table.markdown([head, *rows])
