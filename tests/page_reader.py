"""Parse an HTML page: its content, and whether it is well formed."""

from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "input", "br", "wbr", "img", "hr"}


class Page(HTMLParser):
    """A parsed page: its elements in order, headings, table rows, scripts and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.headings: list[tuple[int, str]] = []
        self.rows: list[list[str]] = []
        self.scripts: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"h1", "h2", "h3", "h4"}:
            self.headings.append((int(tag[1]), ""))
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> ends <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
            return
        if "style" in self.open:
            return
        self.said.append(data)
        if {"h1", "h2", "h3", "h4"} & set(self.open):
            level, text = self.headings[-1]
            self.headings[-1] = (level, (text + data).strip())
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(value in found.get(key, "") for key, value in wanted.items())
        ]

    def check(self) -> None:
        """Assert what holds for every page: complete, self-contained, accessible to screen
        readers."""
        assert not self.open
        for tag, found in self.elements:
            assert not tag.startswith("script") or "src" not in found
            for name in ("src", "href"):
                assert found.get(name, "#").startswith(("#", "data:")), found
        levels = [level for level, _ in self.headings]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b <= a + 1 for a, b in pairwise(levels)), self.headings
        assert all(text for _, text in self.headings)
        ids = [found["id"] for _, found in self.elements if "id" in found]
        assert len(ids) == len(set(ids))
        for _, found in self.elements:
            for name in ("aria-labelledby",):
                assert found.get(name, ids[0]) in ids
            if found.get("href", "").startswith("#"):
                assert found["href"][1:] in ids
        for name in ("header", "nav", "main", "footer"):
            assert len(self.all(name)) == 1
        assert len(self.all("table")) == len(self.all("caption"))
        assert all("scope" in found for found in self.all("th"))
        assert all("aria-label" in found for found in self.all("svg", role="img"))
