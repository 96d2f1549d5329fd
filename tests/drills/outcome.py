"""The outcome of a drill, the table of all, and the notes below it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import text_table

_REDRAWS = 3  # further draws for a try whose disturbance came after the end
_LONGEST = 160  # characters of a note
_DASH = "–"


@dataclass(frozen=True)
class Outcome:
    """The outcome of several tries of a drill.

    Attributes:
        tries: number of tries that disturbed the command while it ran
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

    @property
    def is_untried(self) -> bool:
        return not (self.tries or self.lost or self.wrong)


@dataclass(frozen=True)
class Try:
    """One try of a drill.

    Attributes:
        hit: whether the disturbance came while the command ran
        lost: what the repeated command said when it did not finish the work
        wrong: what was wrong
    """

    hit: bool = True
    lost: str = ""
    wrong: str = ""


def tally(drill: str, tries: int, once: Callable[[], Try]) -> Outcome:
    """Try a drill several times. A try that came too late is repeated, and does not count."""
    done: list[Try] = []
    for _ in range(tries):
        for _ in range(1 + _REDRAWS):
            tried = once()
            if tried.hit or tried.wrong:
                done.append(tried)
                break
    if not done:
        return Outcome(drill, 0, 0, 1, "never hit")
    lost = sum(bool(tried.lost) for tried in done)
    wrong = sum(bool(tried.wrong) for tried in done)
    said = dict.fromkeys(note for tried in done for note in (tried.wrong, tried.lost) if note)
    return Outcome(drill, len(done), lost, wrong, "; ".join(said))


def failed(drill: str, error: BaseException) -> Outcome:
    """The outcome of a drill that ended with an exception."""
    return Outcome(drill, 0, 0, 1, f"{type(error).__name__}: {error}")


def not_tried(drill: str, why: object) -> Outcome:
    return Outcome(drill, 0, 0, 0, f"not tried: {why}")


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table with a row for each drill."""
    return text_table.markdown([["drill", "tries", "lost", "wrong"], *map(_row, outcomes)])


def _row(outcome: Outcome) -> list[str]:
    numbers = outcome.tries, outcome.lost, outcome.wrong
    return [outcome.drill, *([_DASH] * 3 if outcome.is_untried else map(str, numbers))]


def notes(outcomes: Sequence[Outcome], root: Path) -> str:
    """A Markdown list of the notes, one line each, without the path of the temporary folder."""
    lines = [f"- {o.drill}: {_on_one_line(o.note, root)}" for o in outcomes if o.note]
    return "\n".join(lines)


def _on_one_line(note: str, root: Path) -> str:
    line = " ".join(note.replace(f"{root}/", "").replace(str(root), ".").split())
    return (line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ...").replace("|", "\\|")


def last_line(text: str) -> str:
    """The last line of what a command said."""
    return text.strip().rpartition("\n")[2].strip()
