"""docs/reference.md, made of the code: `make reference`."""

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from inspect import cleandoc, getdoc
from pathlib import Path
from textwrap import fill
from typing import Any, get_type_hints

import click

from ascnet.cli import COMMANDS, cli
from evaluate import protocol
from evaluate.finetune import settings as finetune
from trainer.backbones.all_backbones import BACKBONES
from trainer.config import recipe_file, settings
from trainer.config.validation import Rule

PAGE = Path(__file__).with_suffix(".md")
_WIDTH = 118  # of a line
_TYPES = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
}
_INTRODUCTION = """# Reference

Every command with its options, and every setting. Generated from the code (`make reference`);
`ascnet COMMAND --help` shows the same options.

{contents}- [Settings of the evaluation's clips](#settings-of-the-evaluations-clips)
- [Settings of fine-tuning](#settings-of-fine-tuning)

## Commands

With this line in `~/.bashrc`, the Tab key completes commands, options and their values (zsh and
fish: `zsh_source`, `fish_source`):

    eval "$(_ASCNET_COMPLETE=bash_source ascnet)"

Exit status of every command: 0, done; 1, it failed because of a file, its content or the machine (a
missing file, too); 2, the request is invalid: an unknown command, option, setting, or name of a
recipe, data set, split or layer, or a value that is not allowed; 130 after Ctrl-C, 143 after
SIGTERM, 129 after SIGHUP. `build` ends with 1 if no video could be built, or with `--strict` if one
failed, and `verify` if a shard has changed.
"""
_TRAINING = """## Settings of training

`ascnet train --set KEY=VALUE` changes them, and a recipe is a TOML file of them (`[data]`,
`frames = 16`). Values are written as in TOML: `--set data.strides=[1,2,4]`. "; paper", "; RSPNet"
or "; BYOL-video" is the source of a default; without one, the default is ours.
[training.md](training.md) explains when each matters.
"""
_CLIPS = """## Settings of the evaluation's clips

`ascnet evaluate --set KEY=VALUE` changes them. By default they are the run's: its clips, and
`evaluate.clips` and `evaluate.stride` of its recipe. [evaluation.md](evaluation.md) explains them.
"""
_FINETUNING = """## Settings of fine-tuning

`--set classifier.KEY=VALUE` changes them for `ascnet evaluate --task finetune` and for
`--task linear --on-the-fly`; `--classifier` takes a TOML file of them.
[evaluation.md](evaluation.md) explains them.
"""


def page() -> str:
    """The whole page."""
    commands = ", ".join(f"[{name}](#ascnet-{name})" for name in COMMANDS)
    of_config = [field.name for field in fields(settings.Config) if field.default is MISSING]
    tables = ", ".join(f"[{name}](#{name})" for name in of_config)
    contents = [
        f"[Commands](#commands): {commands}",
        f"[Settings of training](#settings-of-training): {tables}",
    ]
    config, classifier = settings.Config(), finetune.FinetuneSettings()
    recipes = {name: recipe_file.load_recipe(name) for name in recipe_file.recipes()}
    classifiers = {name: finetune.load_recipe(name) for name in finetune.recipes()}
    clips = protocol.Protocol()
    parts = [
        _INTRODUCTION.format(contents="".join(map(_item, contents))),
        *map(_command, COMMANDS),
        _TRAINING,
        *_settings(config, settings.rules_for(config), recipes),
        _CLIPS,
        *_settings(clips, protocol.rules_for(clips), {}),
        _FINETUNING,
        *_settings(classifier, finetune.rules_for(classifier), classifiers, "classifier."),
    ]
    return "\n".join(parts)


def _command(name: str) -> str:
    """A command: how it is called, what it does, its options."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    context = click.Context(command, info_name=name)
    usage = " ".join(filter(None, ["ascnet", name, *command.collect_usage_pieces(context)]))
    said = "\n\n".join(map(_paragraph, cleandoc(command.help or "").split("\n\n")))
    options = [
        _item(f"`{record[0]}`: {record[1]}")
        for option in command.params
        if isinstance(option, click.Option) and (record := option.get_help_record(context))
    ]
    return f"### ascnet {name}\n\n    {usage}\n\n{said}\n\n{''.join(options)}"


def _paragraph(text: str) -> str:
    """A paragraph of a help text; what click shows as it stands is shown so here."""
    if text.startswith("\b\n"):
        return "\n".join(f"    {line}".rstrip() for line in text.splitlines()[1:])
    return wrapped(text)


def _item(text: str) -> str:
    """An item of a list."""
    return wrapped(f"- {text}", indent="  ") + "\n"


def wrapped(text: str, indent: str = "") -> str:
    """Lines in which Markdown sees no tag and no emphasis; what stands in `code` stays."""
    parts = re.split("(`[^`]*`)", " ".join(text.split()))
    safe = (p if p[:1] == "`" else re.sub(r"(\*|<(?=[a-z][^<>]*>))", r"\\\1", p) for p in parts)
    return fill(
        "".join(safe),
        _WIDTH,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _settings(
    own: Any, rules: list[Rule], recipes: dict[str, Any], prefix: str = ""
) -> Iterator[str]:
    """The entries of a dataclass of settings, then those of each dataclass in it, then what is
    allowed of several together."""
    yield _entries(own, rules, recipes, prefix)
    for field in fields(own):
        inner = getattr(own, field.name)
        if is_dataclass(inner):
            yield f"### {prefix}{field.name}\n\n{(getdoc(type(inner)) or '').splitlines()[0]}\n"
            of_recipes = {name: getattr(recipe, field.name) for name, recipe in recipes.items()}
            yield _entries(inner, rules, of_recipes, f"{prefix}{field.name}.")
    products = [_item(f"`{key}`: {allowed}.") for _, key, _, allowed in rules if " x " in key]
    if products:
        yield f"Of several together:\n\n{''.join(products)}"


def _entries(own: Any, rules: list[Rule], recipes: dict[str, Any], prefix: str) -> str:
    """A list item for every setting of one dataclass, but for the dataclasses in it."""
    kinds, meanings = get_type_hints(type(own)), attributes(type(own))
    items = []
    for field in fields(own):
        name, value = field.name, getattr(own, field.name)
        if not is_dataclass(value):
            default = f" = `{_toml(value)}`" if recipes else ""
            allowed = _allowed(f"{prefix}{name}", kinds[name], rules)
            others = in_recipes({key: getattr(own, name) for key, own in recipes.items()}, value)
            end = "" if meanings[name].endswith(".") else "."
            items.append(
                _item(f"`{prefix}{name}`{default} ({allowed}): {meanings[name]}{end}{others}")
            )
    return "".join(items)


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a dataclass and of its bases say of each field."""
    found: dict[str, str] = {}
    for own in reversed(kind.__mro__):
        text = cleandoc(own.__doc__ or "").partition("Attributes:\n")[2]
        for name, meaning in re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)", text):
            found[name] = " ".join(meaning.split())
    return found


def _allowed(key: str, kind: Any, rules: list[Rule]) -> str:
    """What a setting may be, in words."""
    if key == "model.backbone":
        return ", ".join(BACKBONES)
    own = key.removeprefix("classifier.")
    said = "; ".join(allowed for _, of, _, allowed in rules if own in of.split(" and "))
    if kind in (int, float):
        return f"{_TYPES[kind]}{', ' if said else ''}{said}"
    return said or _TYPES[kind]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def in_recipes(values: dict[str, Any], default: Any) -> str:
    """Other values that recipes have: " Recipes: demo `8`; every k400 `64`."""
    others: dict[str, list[str]] = {}
    for name, value in values.items():
        if value not in (default, name):  # its own name is no setting of a recipe
            others.setdefault(_toml(value), []).append(name)
    said = [f"{_families(names, list(values))} `{value}`" for value, names in others.items()]
    return f" Recipes: {'; '.join(said)}." if said else ""


def _families(some: list[str], recipes: list[str]) -> str:
    """Names of recipes, "every ucf101" for all that begin so."""
    short = []
    for name in some:
        first = name.partition("-")[0]
        family = {other for other in recipes if other.partition("-")[0] == first}
        short.append(f"every {first}" if len(family) > 1 and family <= set(some) else name)
    return ", ".join(dict.fromkeys(short))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
