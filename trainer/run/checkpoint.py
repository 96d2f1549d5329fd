"""Checkpoints: whole or absent, readable without pickle."""

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
from trainer.backbones.all_backbones import empty_backbone
from trainer.backbones.base import Backbone
from trainer.config.recipe_file import MAY_CHANGE, differing, parse
from trainer.config.recipe_file import load as load_config
from trainer.config.settings import Config
from trainer.errors import TrainerError
from trainer.run.torch_archive import is_plain, what_it_fills

_ENDLESS = 10**15  # steps
_KEPT = 2  # checkpoints of a run, beside its milestones
_SHOWN = 40  # steps in a message, at most
_OLDER_PARTIAL = "[0-9]" * 8 + ".partial"  # as earlier versions called them
CONFIG_FILE = "config.toml"
RUNS = Path("runs")  # where runs are, and are looked for, unless it is said

log = logging.getLogger(__name__)


def folder_of(run: Path) -> Path:
    return run / "checkpoints"


def milestones(total: int, count: int) -> set[int]:
    """The steps whose checkpoints are kept for good: `count` of them, evenly spaced, the last one
    included."""
    return {-(-total * i // count) for i in range(1, count + 1)}


def save(run: Path, step: int, state: dict[str, Any], kept: Set[int] = frozenset()) -> Path:
    """Write a checkpoint under a temporary name and give it its name; then drop all but the last
    two and those of the steps in `kept`.

    Raises TrainerError if the disk refuses; the checkpoints before it are left as they are.
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
    for number in paths.keys() - stay:  # one after this step was damaged, or is to be taken anew
        paths[number].unlink()
    return path


def write_state(path: Path, state: dict[str, Any]) -> None:
    """A file of tensors, numbers and names, whole or not at all. Raises TrainerError if the disk
    refuses."""
    content = io.BytesIO()  # torch.save hides what the disk says
    torch.save(state, content)
    try:
        partial = write_partial(path, content.getbuffer())
        try:
            give_name(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise TrainerError(
            f"Cannot write {path}: {error.strerror}. The checkpoints before it are kept: make "
            "room, then go on with --resume."
        ) from error


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(folder_of(run).glob("*.pt"))


def load_last(run: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run that is whole; a warning names those after it that are not.
    Raises TrainerError if there is none to read."""
    paths = list_checkpoints(run)
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
    """The steps of which a run has a complete checkpoint, in order."""
    return [int(path.stem) for path in list_checkpoints(run) if path.stem.isdecimal()]


def load_step(run: Path, step: int) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that was taken after a step. Raises TrainerError, naming those that are kept,
    if it is not, or if it is damaged."""
    kept = kept_steps(run)
    if not kept:
        return load_last(run)  # which says what to do
    path = folder_of(run) / f"{step:08d}.pt"
    if step not in kept:
        shown = [str(number) for number in kept]
        if len(shown) > _SHOWN:
            shown[_SHOWN // 2 : -_SHOWN // 2] = ["..."]
        raise TrainerError(
            f"{run} keeps no checkpoint of step {step}; there are those of {', '.join(shown)}."
        )
    if (state := read_state(path)) is None:
        raise TrainerError(f"{path} is damaged. Copy it again, or choose another checkpoint.")
    return path, state


def read_state(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None if it was cut or changed since it was written, or would fill
    more memory than its file has bytes."""
    try:
        if what_it_fills(path):
            return None
        with zipfile.ZipFile(path) as members:
            if members.testzip() is not None:  # torch.load does not look at the checksums
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception:  # whatever a damaged file makes them raise
        return None
    return state if isinstance(state, dict) and is_plain(state) else None


def must_be_of(text: str | None, settings: Config, run: Path) -> None:
    """Raises TrainerError, naming what differs, if a run was started with other settings than
    those in its config.toml. `text`: what it was started with; None: an older version of ascnet
    did not keep that."""
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
    """Raises TrainerError where a checkpoint has other tensors than the settings of its run ask
    for."""
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
    """The step a checkpoint was taken after. Raises ValueError if it says none."""
    step = state["step"]
    if type(step) is not int or not 0 <= step < _ENDLESS:
        raise ValueError(f"step {step!r:.40}")
    return step


@dataclass(frozen=True)
class TrainedBackbone:
    """What evaluation needs of a run.

    Attributes:
        sha256: of the checkpoint file
    """

    config: Config
    backbone: Backbone
    step: int
    sha256: str


def load_backbone(run: Path, step: int | None = None) -> TrainedBackbone:
    """The backbone of a run's checkpoint of a step; None: of its newest one. Raises TrainerError
    if there is none, or if the settings beside it are not those that it was trained with."""
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
    """The run in the folder of runs that was started, or wrote a checkpoint, last; `trained`: of
    those that have a checkpoint, with a warning that names the newer ones that have none. Raises
    TrainerError if there is none."""
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
