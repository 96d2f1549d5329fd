"""Options and settings that messages name are there."""

import ast
import re
from pathlib import Path

import click
import pytest

from ascnet.cli import cli
from evaluate.finetune.settings import FinetuneSettings
from evaluate.protocol import Protocol
from trainer.config.settings import Config

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("ascnet", "builder", "trainer", "evaluate")
OTHERS = {  # of programs that messages and commands name
    *("--help", "--no-deps", "--force-reinstall", "--no-cache-dir", "--shm-size"),
    *("--nproc-per-node", "--max-time", "--final_bn", "--error-unmatch", "--always", "--dirty"),
    *("--no-python", "--pdeathsig", "--to-stdout"),
    *("--lr", "--option"),  # of examples
    *("--master-port", "--max-restarts", "--standalone"),
    *("--connect-timeout", "--globoff", "--proto", "--proto-redir", "--retry", "--retry-delay"),
}


def options() -> set[str]:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    own = [parameter for command in (cli, *commands) for parameter in command.params]
    return {option for parameter in own for option in parameter.opts}


def texts(path: Path) -> list[str]:
    """All strings of a file, those that a formatted one is made of as one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "{}" for v in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_options_that_messages_name_are_there() -> None:
    there = options() | OTHERS
    named = {(o, path.name) for path in FILES for t in texts(path) for o in _options_in(t)}
    assert len(named) > 50
    assert not sorted((o, file) for o, file in named if o not in there)


def _options_in(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[a-z][a-z_-]*[a-z]", text)


@pytest.mark.parametrize("text", ["Say --no-such-option.", "with --solver lbfgs"])
def test_the_check_sees_options_that_are_not_there(text: str) -> None:
    assert set(_options_in(text)).isdisjoint(options())


def has(kind: object, key: str) -> bool:
    first, _, rest = key.partition(".")
    own = getattr(kind, first, None)
    return hasattr(kind, first) and (not rest or has(own, rest))


def test_settings_that_messages_name_are_there() -> None:
    named = {k for path in FILES for t in texts(path) for k in re.findall(r"--set ([a-z_.]+)=", t)}
    assert len(named) > 10
    classifier, config, protocol = FinetuneSettings(), Config(), Protocol()
    wrong = [
        key
        for key in named
        if not has(config, key)
        and not has(protocol, key)
        and not (key.startswith("classifier.") and has(classifier, key.removeprefix("classifier.")))
    ]
    assert not wrong
