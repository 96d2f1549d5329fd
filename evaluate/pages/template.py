"""Templates to HTML. Everything that is written is escaped, whatever file and class names hold."""

from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import category

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of characters that nobody sees
_KEPT = "\n\u200c\u200d"  # joiners: part of words and of emoji
_HERE = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """The page that a template of templates/ makes of `values`; UTF-8 can hold it."""
    return _environment().get_template(template).render(**values)


def clean(text: str) -> str:
    """`text` with what cannot be shown, or would disturb its surroundings (lone surrogates, control
    characters, changes of direction), as escapes such as \\udcff."""
    if text.isprintable():
        return text
    return "".join(_escape(c) if category(c) in _HIDDEN and c not in _KEPT else c for c in text)


def asset(name: str) -> Markup:
    """A file of assets/, as it is: CSS or JavaScript of our own."""
    return Markup((_HERE / "assets" / name).read_text(encoding="utf-8"))


def seconds(value: float) -> str:
    """ "3.0 s", from a minute on "1:03", from an hour on "1:02:03"."""
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(value: float) -> str:
    """A whole number with thin spaces between thousands: 13 320."""
    return f"{value:,.0f}".replace(",", "\u202f")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _finish(value: Any) -> Any:
    return clean(value) if type(value) is str else value  # not Markup, which is ours


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finish,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset
    environment.filters["count"] = count
    environment.filters["seconds"] = seconds
    return environment
