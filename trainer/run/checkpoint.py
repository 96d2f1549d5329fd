"""Checkpoints: written atomically, read without unpickling objects."""

import errno
import io
import logging
import zipfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from builder.atomic import give_name, partials_in, write_partial
from builder.command_line import quoted
from builder.system_errors import cannot_write
from trainer.backbones.all_backbones import empty_backbone
from trainer.backbones.base import Backbone
from trainer.config.recipe_file import MAY_CHANGE, differing, parse
from trainer.config.recipe_file import load as load_config
from trainer.config.settings import Config
from trainer.errors import TrainerError, TrainerUsageError
from trainer.run.torch_archive import is_plain, what_it_fills

_ENDLESS = 10**15  # steps, more than any run has
_KEPT = 2  # newest checkpoints that a run keeps, besides its milestones
_SHOWN = 40  # steps in a message, at most
_OLDER_PARTIAL = "[0-9]" * 8 + ".partial"  # temporary names of earlier versions
CONFIG_FILE = "config.toml"
RUNS = Path("runs")  # the default folder of runs

# Errors of reading that say nothing about the file.
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOMEM)
log = logging.getLogger(__name__)


def folder_of(run: Path) -> Path:
    """The folder of a run's checkpoints."""
    return run / "checkpoints"


def milestones(total: int, count: int) -> set[int]:
    """The `count` steps whose checkpoints are kept for good: evenly spaced, including the last."""
    return {-(-total * i // count) for i in range(1, count + 1)}


def save(run: Path, step: int, state: dict[str, Any], kept: Set[int] = frozenset()) -> Path:
    """Write a checkpoint atomically, then delete all but the last two and those of the steps in
    `kept`. Returns its path.

    Raises TrainerError if it cannot be written; earlier checkpoints are then left as they are.
    """
    folder = folder_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{step:08d}.pt"
    for unfinished in (*partials_in(folder), *folder.glob(_OLDER_PARTIAL)):
        unfinished.unlink()
    write_state(path, state | {"step": step})
    paths = {int(path.stem): path for path in list_checkpoints(run)}
    before = [number for number in paths if number <= step]
    stay = set(before[-_KEPT:]) | (kept & set(before))
    for number in paths.keys() - stay:  # those after this step are damaged, or will be rewritten
        paths[number].unlink()
    return path


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a file of tensors, numbers and names atomically. Raises TrainerError if it cannot be
    written."""
    content = io.BytesIO()  # torch.save would hide the system's error
    torch.save(state, content)
    try:
        partial = write_partial(path, content.getbuffer())
        try:
            give_name(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise TrainerError(
            f"{cannot_write(path, error)} The checkpoints before it are kept, and --resume "
            "continues."
        ) from error


def list_checkpoints(run: Path) -> list[Path]:
    """Paths of the complete checkpoints of a run, oldest first. Other files, such as a copy named
    best.pt, do not count."""
    return sorted(path for path in folder_of(run).glob("*.pt") if path.stem.isdecimal())


def load_last(run: Path) -> tuple[Path, dict[str, Any]]:
    """Load the newest intact checkpoint of a run: its path and contents. A warning names newer ones
    that are damaged. Raises TrainerError if there is none."""
    paths = list_checkpoints(run)
    if not run.exists():
        raise TrainerError(f"There is no run {run}. Name one that is there, or train one first.")
    if not paths and not (run / CONFIG_FILE).is_file():
        raise TrainerError(f"{run} is not a run directory: there is no {run / CONFIG_FILE}.")
    if not paths:
        raise TrainerError(
            f"{run} has no checkpoint yet. Train it first (ascnet train), or name another run."
        )
    for path in reversed(paths):
        if (state := read_state(path)) is not None:
            return path, state
        log.warning("Warning: %s is damaged; the checkpoint before it is taken.", path)
    raise TrainerError(
        f"All checkpoints of {run} are damaged ({', '.join(path.name for path in paths)}). Copy "
        "them again, or start a new run."
    )


def kept_steps(run: Path) -> list[int]:
    """The steps of a run's complete checkpoints, in ascending order."""
    return [int(path.stem) for path in list_checkpoints(run)]


def load_step(run: Path, step: int) -> tuple[Path, dict[str, Any]]:
    """Load the checkpoint written after a step: its path and contents. Raises TrainerError if it is
    damaged or was not kept, and then names those that were."""
    kept = kept_steps(run)
    if not kept:
        return load_last(run)  # raises an error with advice
    path = folder_of(run) / f"{step:08d}.pt"
    if step not in kept:
        shown = [str(number) for number in kept]
        if len(shown) > _SHOWN:
            shown[_SHOWN // 2 : -_SHOWN // 2] = ["..."]
        raise TrainerUsageError(
            f"{run} keeps no checkpoint of step {step}; there are those of {', '.join(shown)}."
        )
    if (state := read_state(path)) is None:
        raise TrainerError(f"{path} is damaged. Copy it again, or choose another checkpoint.")
    return path, state


def read_state(path: Path) -> dict[str, Any] | None:
    """The contents of a checkpoint; None if it is truncated or damaged, or would take far more
    memory than the size of its file. Raises OSError or MemoryError if the file may be intact, and
    the disk, the permissions or the memory are at fault."""
    try:
        if what_it_fills(path):
            return None
        with zipfile.ZipFile(path) as members:
            if members.testzip() is not None:  # torch.load does not check checksums
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        return None
    return state if isinstance(state, dict) and is_plain(state) else None


def must_be_of(text: str | None, settings: Config, run: Path) -> None:
    """Raises TrainerError, naming the differences, if a run was started with other settings than
    those in its config.toml. `text`: the settings it was started with, as TOML; None for runs of
    versions of ascnet that did not store them."""
    if text is None:
        return
    if not isinstance(text, str):
        raise TrainerError(
            f"The newest checkpoint of {run} was changed: its settings are no text. Copy it again, "
            "or start a new run."
        )
    changed = differing(settings, parse(text, f"What {run} was started with"))
    if changed:
        changes = ", ".join(f"{key} = {now} (was {then})" for key, (now, then) in changed.items())
        raise TrainerError(
            f"{run / CONFIG_FILE} was changed since the run was started: {changes}. A run keeps "
            f"its settings ({', '.join(MAY_CHANGE)} excepted): put back what was there, or start "
            f"a new run with the changed ones: ascnet train --recipe {quoted(run / CONFIG_FILE)}"
        )


@contextmanager
def must_fit(path: Path, run: Path) -> Iterator[None]:
    """A context for loading the checkpoint `path`: raises TrainerError if its tensors do not match
    the settings of its run."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainerError(
            f"{path} does not fit the settings in {run / CONFIG_FILE}: the network or the memory "
            "bank they ask for has other tensors. Put model.backbone, model.hidden, model.dim, "
            "objective.bank and objective.momentum back to what the run was started with, or start "
            "a new run."
        ) from error


def step_of(state: dict[str, Any]) -> int:
    """The step after which a checkpoint was written. Raises ValueError if it holds none."""
    step = state["step"]
    if type(step) is not int or not 0 <= step < _ENDLESS:
        raise ValueError(f"step {step!r:.40}")
    return step


@dataclass(frozen=True)
class TrainedBackbone:
    """A run's trained backbone, for evaluation.

    Attributes:
        step: the step after which the checkpoint was written
        sha256: hash of the checkpoint file
    """

    config: Config
    backbone: Backbone
    step: int
    sha256: str


def load_backbone(run: Path, step: int | None = None) -> TrainedBackbone:
    """Load the backbone from a run's checkpoint of a step, or from the newest one (None). Raises
    TrainerError if there is none, or if config.toml has other settings than the run was trained
    with."""
    path, state = load_last(run) if step is None else load_step(run, step)
    config = load_config(run / CONFIG_FILE)
    must_be_of(state.get("settings"), config, run)
    prefix = "encoder.backbone."
    backbone = empty_backbone(config.model.backbone)
    with must_fit(path, run):
        model = state["model"].items()
        weights = {k.removeprefix(prefix): v for k, v in model if k.startswith(prefix)}
        backbone.load_state_dict(weights)
        step = step_of(state)
    return TrainedBackbone(
        config=config,
        backbone=backbone,
        step=step,
        sha256=sha256(path.read_bytes()).hexdigest(),
    )


def newest_run(runs: Path, trained: bool = True) -> Path:
    """The run in a folder of runs that was started or wrote a checkpoint last. With `trained`, only
    runs with a checkpoint count, and a warning names newer ones without. Raises TrainerError if
    there is none."""
    ages = {
        run: max(path.stat().st_mtime_ns for path in (run / CONFIG_FILE, *list_checkpoints(run)))
        for run in runs.glob("*")
        if (run / CONFIG_FILE).is_file()
    }
    newest_first = sorted(ages, key=lambda run: ages[run], reverse=True)
    for place, run in enumerate(newest_first):
        if list_checkpoints(run) or not trained:
            if skipped := newest_first[:place]:
                log.warning(
                    "Note: %s is taken. Newer, but without a checkpoint: %s (--run names another).",
                    run,
                    ", ".join(map(str, skipped)),
                )
            return run
    without = ", ".join(map(str, newest_first))
    raise TrainerError(
        f"No {'trained ' if trained else ''}run in {runs}/"
        + (f" ({without} has no checkpoint yet)" if without else "")
        + ". Train one first, for example with `ascnet train shards/`, or name one with --run."
    )
