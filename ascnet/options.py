"""Options that several commands share, option types, and grouping of options."""

import math
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import click

from builder.errors import BuilderError
from builder.near_name import did_you_mean
from builder.printable import printable
from evaluate.choices import SEARCH_CENTRINGS

Function = Callable[..., Any]


_EMPTY = 'is empty; name a file or folder ("." is the working directory).'


class Whole(click.IntRange):
    """A whole number in a range."""

    name = "integer"  # in help and errors, where click's says "integer range"


class Number(click.FloatRange):
    """A number in a range. Unlike click's type, it rejects NaN."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number; it takes {self._describe_range()}.", param, ctx)
        return number


def page_path(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Check the path of a page to write."""
    if path is not None and path.suffix != ".html":
        raise click.BadParameter(f"{printable(str(path))!r} must end in .html.")
    return path


class UserPath(click.Path):
    """A path of a file or folder; `is_file`: of a file to read or write, `is_folder`: of a folder
    that exists. "~/x" is expanded, as shells do not expand it in "--option=~/x"."""

    def __init__(self, *, is_file: bool = False, is_folder: bool = False) -> None:
        super().__init__()
        self.dir_okay, self.file_okay = not is_file, not is_folder  # for the completion of names
        self.name = "file" if is_file else "directory" if is_folder else "path"  # in help

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):  # as of an unset "$DIR"; Path would take it for the working directory
            self.fail(_EMPTY, param, ctx)
        text = str(value)
        path = Path(text).expanduser() if text == "~" or text.startswith("~/") else Path(text)
        option = param.opts[0] if param else "The path"
        if not self.dir_okay and path.is_dir():
            raise BuilderError(f"{option} is {printable(str(path))}, a folder; name a file.")
        if not self.file_okay and not path.is_dir():
            raise BuilderError(f"{option}: there is no folder {printable(str(path))}.")
        return path


def no_more(advice: Callable[[str], str]) -> Callable[[Function], Function]:
    """Refuse further arguments of a command, with advice on the first of them."""

    def refuse(context: click.Context, argument: click.Parameter, words: tuple[str, ...]) -> None:
        if words:
            word = printable(words[0])
            raise click.UsageError(f"{word!r} is one argument too many. {advice(words[0])}")

    return click.argument("more", nargs=-1, metavar="", callback=refuse, expose_value=False)


class Place(click.types.StringParamType):
    """Where a data set is: a folder, a URL or "pipe:COMMAND {}"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail(_EMPTY, param, ctx)
        return super().convert(value, param, ctx)


class OneOf(click.Choice):
    """One of several names. For an unknown name, the error suggests a similar one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message}{did_you_mean(str(value), self.choices)}", param, ctx)


def gathered(**groups: type) -> Callable[[Function], Function]:
    """Combine options into dataclasses: `gathered(how=How)` replaces the options named like fields
    of How, and of its fields that are dataclasses, by one argument `how`."""

    def decorate(command: Function) -> Function:
        @wraps(command)
        def call(**values: Any) -> Any:
            arguments = {name: _taken(kind, values) for name, kind in groups.items()}
            return command(**arguments, **values)

        return call

    return decorate


def _taken(kind: type, values: dict[str, Any]) -> Any:
    """Remove the fields of a dataclass from `values`, and make it from them."""
    fields = {}
    for name, field in get_type_hints(kind).items():
        if is_dataclass(field):
            fields[name] = _taken(field, values)  # type: ignore[arg-type]
        elif name in values:
            fields[name] = values.pop(name)
    return kind(**fields)


def _device_option(what: str) -> Callable[[Function], Function]:
    """Add --device; see ascnet.device.pick_device."""
    help_text = f"{what}  [default: a GPU if there is one]"
    return click.option("--device", metavar="cpu|cuda|cuda:N", help=help_text)


with_device = _device_option(
    "Device for the network; with torchrun, each process uses its own GPU."
)
with_search_device = _device_option("Device for the network and the search.")
with_comparing_device = _device_option("Device that compares the features.")


def with_centring(command: Function) -> Function:
    """Add --centring, for searches in a store."""
    return click.option(
        "--centring",
        type=OneOf(SEARCH_CENTRINGS),
        default=SEARCH_CENTRINGS[0],
        show_default=True,
        help="Which mean feature to subtract before cosine similarities: that of the store, or "
        "none.",
    )(command)


def with_weights(command: Function) -> Function:
    """Add options for encoders other than a run's: a file of weights (--weights, --backbone and
    --recipe), or a user's encoder (--encoder)."""
    options = (
        click.option(
            "--weights",
            type=UserPath(),
            metavar="FILE|built-in",
            help="File of weights to use instead of a run, from any project (torchvision, RSPNet, "
            "...), or built-in, the small network that comes with ascnet.",
        ),
        click.option("--backbone", help="Backbone of --weights.  [default: the one that fits]"),
        click.option(
            "--recipe",
            help="Recipe that defines the clips for --weights.  [default: the one that fits]",
        ),
        with_encoder_file,
    )
    for option in reversed(options):
        command = option(command)
    return command


def with_encoder_file(command: Function) -> Function:
    """Add --encoder: a user's network, or one of Hugging Face, instead of a run."""
    option = click.option(
        "--encoder",
        "encoder_file",
        metavar="FILE.py:NAME|hf:MODEL",
        help="Your own encoder to use instead of a run: an ascnet.Encoder returned by the function "
        "NAME of this Python file, which is run; or hf: with the directory or hub name of a "
        "Hugging Face model such as VideoMAE, V-JEPA 2 or DINOv2 (docs/extending.md).",
    )
    return option(command)
