"""Implementation of `ascnet train`."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from ascnet.datasets import left_out
from ascnet.options import gathered
from ascnet.progress import ProgressBar
from ascnet.said_once import Say, say_on
from ascnet.training_probe import training_probe
from builder.command_line import command_line
from trainer.agreement import on_first
from trainer.backbones.all_backbones import check_backbone, empty_backbone
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.data.batches import must_be_shareable
from trainer.data.streaming.transport import is_remote
from trainer.data.training_set import TrainingSet, gather, locate
from trainer.distributed import Rank, launch, restarts, together
from trainer.errors import TrainerError
from trainer.method.guards import must_be_finite
from trainer.pretrain import train
from trainer.probing import Probing
from trainer.run.checkpoint import CONFIG_FILE, RUNS, list_checkpoints, newest_run
from trainer.run.dry_run import data_text, forecast, must_be_computable, slow_on_a_cpu
from trainer.run.run_directory import (
    holds_run,
    is_of_this_launch,
    must_be_free,
    must_be_same,
    new_folder,
    record_of,
    run_of_this_launch,
    shards_of,
    sources_to_resume,
    start_run,
)
from trainer.schedules import total_steps
from trainer.weights.load import load_weights


@dataclass(frozen=True)
class RunChoice:
    """The run to start or to resume."""

    run: Path | None
    resume: bool
    trust_source: bool

    def chosen(self, say: Say) -> tuple[Path | None, bool]:
        """The run to resume, and True; or the run to start (None: a new folder), and False."""
        run, restart = self.run, restarts()
        of_this_launch = run_of_this_launch(RUNS) if restart else None
        if self.resume:
            if run is None:
                return of_this_launch or newest_run(RUNS, trained=False), True
            if not holds_run(run):
                say(f"There is no run in {run} yet, so it is started.")
            return run, holds_run(run)
        if not restart:
            return run, False
        if run is None and not launch():
            raise TrainerError(
                f"TORCHELASTIC_RESTART_COUNT is {restart}, so a training is to be resumed, but it "
                "is unknown which: name it with --run, or unset the variable."
            )
        begun = run or of_this_launch
        if begun is not None and holds_run(begun) and (is_of_this_launch(begun) or not launch()):
            say(f"Restart {restart} of torchrun: resuming {begun}.")
            return begun, True
        say(
            f"Restart {restart} of torchrun: no run was started before it, so a new one is started."
        )
        return run, False


@dataclass(frozen=True)
class SettingsChoice:
    """A recipe, and changes to it."""

    recipe: str | None
    assignments: tuple[str, ...]
    init: Path | None

    @property
    def changes(self) -> tuple[str, ...]:
        if self.init is None:
            return self.assignments
        return (*self.assignments, f"model.init={self.init.resolve()}")

    def new(self, device: torch.device, say: Say) -> Config:
        """The settings of a new run."""
        recipe = self.recipe
        if recipe is None:
            recipe = "ucf101-r3d18" if device.type == "cuda" else "demo"
            say(f"Recipe {recipe}, as the device is {device.type} (--recipe names another).")
        settings = recipe_file.override(recipe_file.load_recipe(recipe), self.changes)
        changed = {change.partition("=")[0].strip() for change in self.changes}
        if "optim.epochs" in changed and settings.optim.steps:
            raise click.UsageError(
                f"optim.steps is {settings.optim.steps} in the recipe {recipe}, so optim.epochs "
                "has no effect. Add --set optim.steps=0, or set optim.steps instead."
            )
        return settings

    def of_run(self, run: Path) -> Config:
        """The settings of a run that is resumed. Changes are allowed only for settings that do not
        affect the numbers."""
        record_of(run)  # raises an error if it is not a run
        settings, recipe = recipe_file.load(run / CONFIG_FILE), self.recipe
        if recipe is not None:
            self._must_be_recipe_of(run, settings, recipe_file.load_recipe(recipe))
        may_change = recipe_file.MAY_CHANGE
        fixed = tuple(a for a in self.changes if a.partition("=")[0].strip() not in may_change)
        if recipe_file.override(settings, fixed) != settings:
            raise click.UsageError(
                f"--set {' --set '.join(fixed)} differs from {run / CONFIG_FILE}; a run is resumed "
                f"with its own settings, except {', '.join(may_change)}. Omit it, or start a new "
                "run without --resume."
            )
        return recipe_file.override(settings, self.changes)

    def _must_be_recipe_of(self, run: Path, settings: Config, recipe: Config) -> None:
        """Raise UsageError if a run was started with another recipe; of a file of the user's, all
        values are compared, with the present --set."""
        if recipe.recipe != settings.recipe:
            raise click.UsageError(
                f"{run} was started with recipe {settings.recipe}, not {self.recipe}. Omit "
                "--recipe."
            )
        if Path(str(self.recipe)).suffix == ".toml":
            now = recipe_file.override(recipe, self.changes)
            differ = recipe_file.differing(now, settings)
            differ.pop("model.init", None)  # may be omitted on resume
            if differ:
                key, (new, old) = next(iter(differ.items()))
                raise click.UsageError(
                    f"{self.recipe} has {key} = {new}, and {run} was started with {old}. A run is "
                    "resumed with its own settings: omit --recipe, repeat the --set of its start, "
                    "or start a new run without --resume."
                )


@gathered(choice=SettingsChoice, which=RunChoice)
def run(
    shards: str | None,
    choice: SettingsChoice,
    which: RunChoice,
    device: torch.device,
    dry_run: bool,
    probe_every: int | None,
) -> None:
    """Run the command; its help explains the options."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        together(str(device)) as (rank, rank_device),
    ):
        say = say_on(rank.number)
        run, goes_on = on_first(lambda: which.chosen(say))
        if goes_on:
            assert run is not None
            settings = choice.of_run(run)
            sources = [shards] if shards else sources_to_resume(run, which.trust_source)
        else:
            settings = choice.new(device, say)
            sources = [shards or "shards"]
        data = gather(locate(sources, Path(scratch)), settings.data)
        for text in filter(None, map(left_out, sources)):
            say(f"Left out: {text}")
        if goes_on and run is not None:
            must_be_same(run, settings, data, rank.world)
        if not (goes_on and run is not None and list_checkpoints(run)):
            _check_init(settings, say)
        must_be_shareable(settings, data, rank.world)
        probing = _probing(probe_every, settings, data, rank_device, say)
        if dry_run:
            say(recipe_file.dump(settings))
            say(data_text(settings, data))
            say(forecast(settings, data, rank.world))
        must_be_computable(settings, data, device.type)
        if run is not None and not goes_on:
            must_be_free(run)
        slow = slow_on_a_cpu(settings, data) if device.type == "cpu" else ""
        if dry_run:
            say(slow or f"This machine's {device.type} can run this training.")
            return
        if not goes_on:
            run = on_first(lambda: _started(run, settings, data, rank.world))
        assert run is not None
        say(data_text(settings, data))
        if slow:
            say(slow)
        say(_begin_text(run, settings, len(data.videos), device, rank, goes_on))
        last = _train(run, settings, data, rank_device, rank, probing)
        if last:
            say(
                f"{run}: {last['step']} steps, loss {last['loss']:.3f}, embedding std "
                f"{last['std_appearance']:.3f} (appearance) and {last['std_speed']:.3f} (speed); "
                f"1/sqrt(dim) = {last['std_healthy']:.3f} when not collapsed, near 0 when collapsed"
            )


def _probing(
    every: int | None,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    say: Callable[[str], None],
) -> Probing | None:
    """The probe of --probe-every. Without labels or groups there is none, and that is said."""
    probing = None if every is None else training_probe(every, settings, data, device)
    if every is not None and probing is None:
        say(
            "Note: --probe-every measures nothing: it takes labelled training videos of two groups "
            "or more, with a class that two groups share."
        )
    return probing


def _started(run: Path | None, settings: Config, data: TrainingSet, ranks: int) -> Path:
    """Start a run in the folder `run`, or in a new one. Returns the folder."""
    run = run or new_folder(RUNS, settings.recipe)
    start_run(run, settings, data, ranks)
    return run


def _train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    rank: Rank,
    probing: Probing | None,
) -> dict[str, Any]:
    """Train, and return the last line of the log."""
    try:
        with ProgressBar("training", "steps") as progress:
            return train(run, settings, data, device, progress, rank, probing)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(_stopped_text(run)) from error
    except torch.OutOfMemoryError as error:
        optim = settings.optim
        raise TrainerError(
            f"{optim.batch // optim.accumulate // rank.world} videos at a time do not fit the "
            "GPU's memory. Start a new run that splits steps into more parts (--set "
            f"optim.accumulate=, now {optim.accumulate}), in bf16 (--set device.precision=, now "
            f"{settings.device.precision}) or with fewer videos (--set optim.batch=, now "
            f"{optim.batch})."
        ) from error


def _check_init(settings: Config, say: Say) -> None:
    """Check that the initial weights fit before anything is started."""
    check_backbone(settings.model.backbone)
    if settings.model.init:
        backbone, path = empty_backbone(settings.model.backbone), Path(settings.model.init)
        loaded = load_weights(backbone, path)
        must_be_finite(backbone, path)
        say(loaded.text())


def _begin_text(
    run: Path, settings: Config, videos: int, device: torch.device, rank: Rank, goes_on: bool
) -> str:
    checkpoints = list_checkpoints(run)
    where = device.type if rank.world == 1 else f"{rank.world} x {device.type}"
    steps = total_steps(settings.optim, videos)
    text = (
        f"{run}: recipe {settings.recipe}, {settings.model.backbone} on {where}, {steps} steps of "
        f"{settings.optim.batch} videos"
    )
    if checkpoints and (step := int(checkpoints[-1].stem)) < steps:
        return f"{text}, resuming after step {step}"
    if checkpoints:
        return f"{text}, all of which are done"
    if goes_on:
        return f"{text}. It has no checkpoint yet, so it starts at step 0 with a new log"
    return text


def _stopped_text(run: Path) -> str:
    last = [f"The last checkpoint is {checkpoint}" for checkpoint in list_checkpoints(run)[-1:]]
    kept = last[0] if last else "No step was finished, so there is no checkpoint"
    source = [source for source in shards_of(run) if is_remote(source)][:1]
    return (
        f"{kept}. To continue: {command_line('ascnet', 'train', *source, '--run', run, '--resume')}"
    )
