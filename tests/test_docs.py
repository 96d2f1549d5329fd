"""The tour is run as it stands: its blocks in order, in one namespace, in an empty folder."""

import contextlib
import io
import re
from itertools import zip_longest
from pathlib import Path

import pytest

TOUR = Path(__file__).resolve().parent.parent / "docs" / "tour.md"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[str, str | None, int]]:
    """Code, what it prints (None: that varies, or is not said) and the line, of every block."""
    fences = [(*m.groups(), text.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(text)]
    found = []
    for own, after in zip_longest(fences, fences[1:], fillvalue=("", "", "", 0)):
        if own[0] == "python":
            is_said = after[0] == "text" and "varies" not in after[1]
            found.append((own[2], after[2] if is_said else None, own[3]))
    return found


def run(text: str, name: str) -> None:
    """Run the blocks of a page. Raises what a block raises, and AssertionError if one prints
    something else than what stands below it."""
    space: dict[str, object] = {"__name__": "__main__"}
    for code, wanted, line in blocks(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + code, name, "exec"), space)
        if wanted is not None:
            assert printed.getvalue() == wanted, f"{name}, the block of line {line}"


@pytest.mark.slow
def test_the_tour(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = TOUR.read_text(encoding="utf-8")
    assert len(blocks(text)) >= 10
    assert sum(wanted is not None for _, wanted, _ in blocks(text)) >= 7
    run(text, str(TOUR))


PAGE = (
    "Text.\n\n```python\nx = 1\nprint(x + 1)\n```\n\n```text{}\n{}\n```\n\n```python\nx += 1\n```\n"
)


def test_what_is_printed_is_compared():
    run(PAGE.format("", "2"), "page")
    run(PAGE.format(" varies", "3"), "page")
    with pytest.raises(AssertionError, match="page, the block of line 4"):
        run(PAGE.format("", "3"), "page")


def test_a_block_that_fails_fails():
    with pytest.raises(NameError, match="y"):
        run(PAGE.format("", "2").replace("x += 1", "x += y"), "page")
