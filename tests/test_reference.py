"""docs/reference.md says what the code says."""

from dataclasses import dataclass, fields, is_dataclass

import pytest

from ascnet.cli import COMMANDS
from docs import reference
from evaluate.finetune.settings import FinetuneSettings
from evaluate.protocol import Protocol
from trainer.config.settings import Config


@pytest.fixture(scope="module")
def page() -> str:
    return reference.page()


def test_the_page_is_what_the_code_says(page):
    is_new = reference.PAGE.read_text(encoding="utf-8") == page
    assert is_new, "docs/reference.md is older than the code. Give: make reference"


def test_every_command_and_setting_is_there(page):
    for name in COMMANDS:
        assert f"\n### ascnet {name}\n" in page and f"(#ascnet-{name})" in page
    for prefix, kind in (("", Config), ("", Protocol), ("classifier.", FinetuneSettings)):
        for key in keys(kind(), prefix):
            assert f"\n- `{key}`" in page, key
    assert max(map(len, page.splitlines())) < 120


def keys(settings: object, prefix: str) -> list[str]:
    """All that --set takes, through all dataclasses."""
    found = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        own = f"{prefix}{field.name}"
        found += keys(value, f"{own}.") if is_dataclass(value) else [own]
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<time>-<the run> [0<x<=1]", r"\<time>-\<the run> [0<x<=1]"),
        ("`a*b<c>` and *.avi", r"`a*b<c>` and \*.avi"),
    ],
)
def test_markdown_sees_no_tag_and_no_emphasis(text, wanted):
    assert reference.wrapped(text) == wanted


def test_what_recipes_have_is_said_shortly():
    values = {"demo": 8, "k400-a": 16, "k400-b": 16, "ucf101-a": 16, "ucf101-b": 4}
    assert reference.in_recipes(values, 4) == " Recipes: demo `8`; every k400, ucf101-a `16`."
    assert reference.in_recipes(values | {"demo": 4}, 16) == " Recipes: demo, ucf101-b `4`."


@dataclass
class Below:
    """Settings.

    Attributes:
        frames: frames
            of a clip
    """

    frames: int = 1


@dataclass
class Above(Below):
    """More.

    Attributes:
        clips: clips: one or two
    """

    clips: int = 1


def test_meanings_come_from_the_docstrings_of_all_bases():
    assert reference.attributes(Above) == {
        "frames": "frames of a clip",
        "clips": "clips: one or two",
    }
