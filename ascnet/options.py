"""Options that several commands have, kinds that click does not have, and groups of options."""

import math
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import click

from builder.near_name import did_you_mean
from builder.printable import printable
from evaluate.choices import SEARCH_CENTRINGS

Function = Callable[..., Any]


class NumberRange(click.FloatRange):
    """A number in a range. click's own lets NaN pass, which no comparison refuses."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is no number; it takes {self._describe_range()}.", param, ctx)
        return number


def page_path(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Callback of an option that names a page to write."""
    if path is not None and path.suffix != ".html":
        raise click.BadParameter(f"{printable(str(path))!r} is no page's name; it ends in .html.")
    return path


class UserPath(click.Path):
    """A path of a file or folder. "~/x" is below the user's home: shells leave it as it is in
    "--option=~/x"."""

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, **checks)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        is_of_home = text == "~" or text.startswith("~/")
        return super().convert(Path(text).expanduser() if is_of_home else value, param, ctx)


class OneOf(click.Choice):
    """One of some names. Of another one it says which is near."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message}{did_you_mean(str(value), self.choices)}", param, ctx)


def gathered(**groups: type) -> Callable[[Function], Function]:
    """Options that are named as the fields of a dataclass are one argument of the command:
    `gathered(how=How)` makes a How of them, and of its fields that are dataclasses themselves."""

    def decorate(command: Function) -> Function:
        @wraps(command)
        def call(**values: Any) -> Any:
            arguments = {name: _taken(kind, values) for name, kind in groups.items()}
            return command(**arguments, **values)

        return call

    return decorate


def _taken(kind: type, values: dict[str, Any]) -> Any:
    """A dataclass of those of `values` that are its fields; they are taken away there."""
    fields = {}
    for name, field in get_type_hints(kind).items():
        if is_dataclass(field):
            fields[name] = _taken(field, values)  # type: ignore[arg-type]
        elif name in values:
            fields[name] = values.pop(name)
    return kind(**fields)


def with_device(command: Function) -> Function:
    """--device, where networks are computed: see ascnet.device.pick_device."""
    return click.option(
        "--device",
        metavar="cpu|cuda|cuda:N",
        help="Where networks are computed. Of torchrun's processes each takes a GPU of its own.  "
        "[default: a GPU if there is one]",
    )(command)


def with_centring(command: Function) -> Function:
    """--centring, for searches in a store."""
    return click.option(
        "--centring",
        type=OneOf(SEARCH_CENTRINGS),
        default=SEARCH_CENTRINGS[0],
        show_default=True,
        help="Mean-centre features before the cosine similarity: by the store's mean, or not.",
    )(command)


def with_weights(command: Function) -> Function:
    """What may stand in place of a run: a file of weights (--weights, --backbone and --recipe), or
    an encoder of one's own (--encoder)."""
    options = (
        click.option(
            "--weights",
            type=UserPath(),
            help="A file of weights in place of a run, of any project (torchvision, RSPNet, ...).",
        ),
        click.option("--backbone", help="With --weights.  [default: the one that fits]"),
        click.option(
            "--recipe", help="With --weights: whose clips to take.  [default: the one that fits]"
        ),
        with_encoder_file,
    )
    for option in reversed(options):
        command = option(command)
    return command


def with_encoder_file(command: Function) -> Function:
    """--encoder: somebody's own network, or one of Hugging Face, in place of a run."""
    option = click.option(
        "--encoder",
        "encoder_file",
        metavar="FILE.py:NAME|hf:MODEL",
        help="An encoder of your own in place of a run: run this Python file, and take what its "
        "function NAME returns, an ascnet.Encoder. Or hf: and the directory or the hub's name of a "
        "Hugging Face model: VideoMAE, V-JEPA 2, DINOv2, ... (docs/extending.md).",
    )
    return option(command)
