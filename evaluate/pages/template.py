"""Render templates as HTML. Everything is escaped, whatever file and class names contain."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import category

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of invisible characters
_KEPT = "\n\u200c\u200d"  # line break, and joiners in words and emoji
_HERE = Path(__file__).parent
_POLICY = "content security policy"  # placeholder until the script is known


def render(template: str, **values: Any) -> str:
    """Render a template of templates/ with `values`. The result can be encoded as UTF-8."""
    page = _environment().get_template(template).render(**values, policy=_POLICY)
    return page.replace(_POLICY, policy(page), 1)


def policy(page: str) -> str:
    """The Content-Security-Policy of a page: embedded styles and pictures, the one script at its
    end, and nothing external. An injected script would not run."""
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def clean(text: str) -> str:
    """Escape characters that cannot be shown or would affect their surroundings: lone surrogates,
    control characters and changes of text direction, for example as \\udcff."""
    if text.isprintable():
        return text
    return "".join(_escape(c) if category(c) in _HIDDEN and c not in _KEPT else c for c in text)


def safe(text: str) -> Markup:
    """Escape `text` for HTML that is not written by a template."""
    return escape(clean(text))


def asset(name: str) -> Markup:
    """The content of a file of assets/: our own CSS or JavaScript."""
    return Markup((_HERE / "assets" / name).read_text(encoding="utf-8"))


def seconds(value: float) -> str:
    """A duration: "3.0 s", "1:03" from a minute on, "1:02:03" from an hour on."""
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def count(value: float) -> str:
    """A whole number with thin spaces as thousands separators: 13 320."""
    return f"{value:,.0f}".replace(",", "\u202f")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _finish(value: Any) -> Any:
    return clean(value) if type(value) is str else value  # Markup is safe already


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
