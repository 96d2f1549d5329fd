"""`ascnet train`."""

import time
from pathlib import Path

import click
import torch

from ascnet.progress import Progress
from builder.shard import find_datasets
from trainer import config
from trainer.checkpoint import CONFIG_FILE, list_checkpoints, newest_run
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.pretrain import total_steps, train
from trainer.run import must_be_same_data, record_of, shards_of, start_run
from trainer.training_set import TrainingSet, gather

RUNS = Path("runs")


def pick_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@click.command("train")
@click.argument("shards", type=click.Path(path_type=Path), required=False)
@click.option(
    "--recipe",
    help=f"{', '.join(config.recipes())}, or a .toml file.  [default: what fits the device]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, such as optim.lr=0.05; may be given several times.",
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Run directory.  [default: runs/<time>-<recipe>; with --resume the newest one]",
)
@click.option("--resume", is_flag=True, help="Go on from the run's last checkpoint.")
def command(
    shards: Path | None,
    recipe: str | None,
    assignments: tuple[str, ...],
    run: Path | None,
    resume: bool,
) -> None:
    """Train on the training videos of all data sets in SHARDS (default: shards/)."""
    device = pick_device()
    if resume:
        run = run or newest_run(RUNS, trained=False)
        settings = _same_settings(run, recipe, assignments)
        _must_be_same_shards(run, shards)
        data = gather(shards_of(run), settings.data)
    else:
        settings = _chosen_settings(recipe, assignments, device)
        data = gather(find_datasets(shards or Path("shards")), settings.data)
        run = run or RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{settings.recipe}"
        start_run(run, settings, data)
    _announce(run, settings, data, device)
    try:
        with Progress("training", "steps") as progress:
            last = train(run, settings, data, device, progress)
    except torch.OutOfMemoryError as error:
        raise TrainerError(
            f"The GPU's memory does not hold a batch of {settings.optim.batch} videos. Start a new "
            f"run with a smaller one, such as --set optim.batch={settings.optim.batch // 2}."
        ) from error
    click.echo(
        f"{run}: {last['step']} steps, loss {last['loss']:.3f}, std of the embeddings "
        f"{last['std_appearance']:.3f} (appearance) and {last['std_speed']:.3f} (speed); "
        f"{last['std_healthy']:.3f} is healthy, near 0 is collapsed"
    )


def _chosen_settings(
    recipe: str | None, assignments: tuple[str, ...], device: torch.device
) -> Config:
    if recipe is None:
        recipe = "ucf101-r3d18" if device.type == "cuda" else "demo"
        click.echo(f"Recipe {recipe}, as the device is {device.type} (--recipe names another).")
    return config.override(config.load_recipe(recipe), assignments)


def _same_settings(run: Path, recipe: str | None, assignments: tuple[str, ...]) -> Config:
    """The run's own settings. What is asked for on resume must not differ from them."""
    record_of(run)  # says so if it is no run
    own = config.load(run / CONFIG_FILE)
    if recipe is not None and config.load_recipe(recipe).recipe != own.recipe:
        raise click.UsageError(
            f"{run} was started with recipe {own.recipe}, not {recipe}. Leave --recipe out."
        )
    for assignment in assignments:
        if config.override(own, (assignment,)) != own:
            raise click.UsageError(
                f"--set {assignment} differs from {run / CONFIG_FILE}; a run is resumed with its "
                "own settings. Leave it out, or start a new run without --resume."
            )
    return own


def _must_be_same_shards(run: Path, shards: Path | None) -> None:
    must_be_same_data(run)
    own = set(shards_of(run))
    if shards is not None and {folder.resolve() for folder in find_datasets(shards)} != own:
        raise click.UsageError(
            f"{run} was started on {', '.join(map(str, sorted(own)))}, not on what is in {shards}. "
            "Leave the argument out, or start a new run without --resume."
        )


def _announce(run: Path, settings: Config, data: TrainingSet, device: torch.device) -> None:
    for folder, counts in data.counts.items():
        click.echo(
            f"Training on {folder}: {counts['training_videos']} training videos of split "
            f"{settings.data.split} ({counts['built']} of {counts['expected']} built)"
        )
    if data.short:
        click.echo(
            f"{data.short} videos are too short for {settings.data.frames} frames at stride "
            f"{max(settings.data.strides)}; their clips follow the policy "
            f"{settings.data.short_videos!r}"
        )
    if len(set(data.groups)) < 2 and settings.objective.exclude_siblings:
        click.echo(
            "Warning: all training videos come from one source group, so speed consistency finds "
            "no other video and only appearance is learnt.",
            err=True,
        )
    steps = total_steps(settings, len(data.videos))
    done = int(list_checkpoints(run)[-1].stem) if list_checkpoints(run) else 0
    click.echo(
        f"{run}: recipe {settings.recipe}, {settings.model.backbone} on {device.type}, "
        f"{steps} steps of {settings.optim.batch} videos"
        + (f", going on after step {done}" if done else "")
    )
