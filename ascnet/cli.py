"""The `ascnet` command. Sub-commands load when they are called, so `ascnet --help` is instant."""

import importlib
import os
import resource
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import click

from ascnet import __version__, signals
from ascnet.terminal import safe_streams
from builder.near_name import did_you_mean

_OPEN_FILES = 65_536
ROOMS = ("builder", "trainer", "evaluate")
COMMANDS = {
    "fetch": "Download a data set from its official source.",
    "build": "Build frame-JPEG WebDataset shards from videos.",
    "train": "Pretrain a 3D-CNN on shards, without labels.",
    "evaluate": "Evaluate a trained run: retrieval, linear probe, kNN, fine-tuning.",
    "report": "Write a run as one web page: curves, results, clips and a map.",
    "embed": "Embed videos, labelled or not, into a feature store.",
    "search": "Find the videos of a store that resemble a query video.",
    "browse": "Write a page of a store: a map of its videos, and the nearest videos of each.",
    "near-duplicates": "Find near-duplicate videos in a store, and leaks between train and test.",
    "select": "Choose videos of a store to label, or a split without leaks.",
    "export": "Export a trained backbone for torchvision, safetensors or ONNX.",
    "info": "Show the content of shards.",
    "verify": "Check that shards are unchanged since they were built.",
    "show": "Draw the frames of one video in the shards.",
    "doctor": "Check what this machine has and lacks.",
}


class LazyGroup(click.Group):
    """A group that knows the names and one-line help of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ascnet.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = str(args[0])
        if name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"There is no command {name!r}.{did_you_mean(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="ascnet")
def cli() -> None:
    """Learn video representations without labels (ASCNet), and evaluate them.

    \b
    ascnet fetch ucf101                 download videos
    ascnet build ucf101                 videos -> shards
    ascnet train shards/                shards -> a trained 3D-CNN
    ascnet evaluate --task retrieval    3D-CNN -> results
    """


def clash() -> str | None:
    """A sentence if Python would import one of the rooms from another distribution; otherwise
    None."""
    home = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        spec = find_spec(room)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin != home / room / "__init__.py":
            return (
                f"ascnet needs its own package `{room}` ({home / room}), but Python would import "
                f"{origin.parent if origin else 'none'}: install ascnet in a virtual environment "
                "of its own, or uninstall the other distribution."
            )
    return None


_LONGEST = 4000  # characters of a message; longer ones are shortened


def _open_what_is_closed() -> None:
    """Connect closed standard input, output and error (`2>&-`) to the null device. Otherwise the
    next file to be opened would get their number, and the output meant for the terminal."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number, inheritable=True)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


def _keep_to_the_cores() -> None:
    """Limit the threads of torch, numpy and scikit-learn, which count the machine's cores rather
    than those that a container may use. They read this setting when they are loaded."""
    from builder.cores import usable_cores

    if usable_cores() < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _raise_file_limit() -> None:
    """Allow more open files, if the system lets this user have them: the usual 1024 are too few for
    the decoders of a machine with hundreds of cores."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if resource.RLIM_INFINITY != soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


# Libraries that report their use to their makers unless these are set before they are loaded:
# onnxruntime since 1.29, Ray, and the client of the Hugging Face hub.
_SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _switch_off_telemetry() -> None:
    """Keep libraries from reporting their use, unless the user's environment says otherwise."""
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """The entry point. Errors that a user can fix are shown as one message, never as a
    traceback."""
    _open_what_is_closed()
    try:
        with safe_streams():
            _run()
    finally:
        signals.stop_listening()


def _plain(text: str) -> str:
    """Shorten a message and escape its control characters, as names in it may come from others."""
    if len(text) > _LONGEST:
        begin, end = text[: _LONGEST // 2], text[-_LONGEST // 2 :]
        text = f"{begin} ... ({len(text) - _LONGEST} characters) ... {end}"
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _is_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; torch has no class of its own for this."""
    said = ("allocate memory", "out of memory", "size calculation overflowed")
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


# Commands that write their result at the end, or none.
_STARTS_AGAIN = {
    "browse",
    "doctor",
    "export",
    "info",
    "near-duplicates",
    "report",
    "search",
    "select",
    "show",
    "verify",
}


def _run() -> None:
    if sentence := clash():
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(1)
    _keep_to_the_cores()
    _raise_file_limit()
    _switch_off_telemetry()
    from builder.errors import AscnetError

    signals.listen()  # before, there is nothing to clean up
    try:
        cli(standalone_mode=False)
    except AscnetError as error:
        click.echo(f"Error: {_plain(str(error))}", err=True)
        sys.exit(error.exit_status)
    except click.exceptions.Abort as error:
        kept = str(error.__cause__ or "") or (
            "Repeat the command to start again."
            if _STARTS_AGAIN.intersection(sys.argv[1:2])
            else "Finished work is kept; repeat the command to continue."
        )
        click.echo(f"Stopped. {kept}", err=True)
        sys.exit(signals.exit_status())
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        click.echo("Error: This machine does not have enough memory for this command.", err=True)
        sys.exit(1)
    except OSError as error:
        from builder import system_errors

        click.echo(f"Error: {_plain(system_errors.sentence(error))}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
