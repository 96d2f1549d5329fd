"""The outcome of a drill, and the table of all."""

from dataclasses import dataclass

from builder import text_table


@dataclass(frozen=True)
class Outcome:
    """The outcome of several tries of a drill.

    Attributes:
        lost: number of tries after which repeating the command did not finish the work
        wrong: number of tries with a result other than that of an undisturbed run, with a
            traceback, or with a silent failure
        note: what happened, or why it could not be tried
    """

    drill: str
    tries: int
    lost: int
    wrong: int
    note: str = ""


def table(outcomes: list[Outcome]) -> str:
    """A Markdown table with a row for each drill."""
    head = ["drill", "tries", "lost", "wrong", "note"]
    rows = [[o.drill, str(o.tries), str(o.lost), str(o.wrong), o.note] for o in outcomes]
    return text_table.markdown([head, *rows])
