"""The block of drills in docs/reliability.md, between two markers."""

from pathlib import Path

BEGIN, END = "<!-- drills -->", "<!-- /drills -->"


def put(page: Path, content: str) -> None:
    """Replace what stands between the markers of a page. Raises ValueError if they are missing."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} does not have the markers {BEGIN} and {END}.")
    page.write_text(f"{before}{BEGIN}\n\n{content}\n\n{END}{after}", encoding="utf-8")
