"""`ascnet evaluate`: its options and help."""

from typing import Any

import click

from ascnet.options import OneOf, UserPath, with_device, with_weights
from evaluate.choices import ALL, CENTRINGS, CROPS, HEADS, POOLINGS, SOLVERS, TASKS
from evaluate.finetune.shipped import recipes

_OF_CLIPS = (
    *("frames", "stride", "fps", "short_videos", "size", "short_side", "every", "mirrored"),
    "turned",
)


@click.command("evaluate")
@click.option(
    "--task",
    type=OneOf([*TASKS, ALL]),
    default="retrieval",
    show_default=True,
    help="Nearest neighbours of test videos among training videos; a linear classifier on "
    "features; a vote of the k nearest; a classifier on few labels; training end to end; or all "
    "five.",
)
@click.option("--run", type=UserPath(), help="Run directory.  [default: the newest in runs/]")
@click.option(
    "--checkpoint",
    metavar="STEP|all",
    help="A checkpoint of the run that was kept, by its step; or all of them, one after another, "
    "with a table at the end.  [default: the newest]",
)
@with_weights
@click.option(
    "--shards",
    metavar="PLACE",
    help="Data sets to evaluate on: a folder of one or of several, or one that is streamed (a URL, "
    "or 'pipe:COMMAND {}').  [default: what the run was trained on; without a run shards/]",
)
@click.option(
    "--dataset", "names", multiple=True, help="Of these data sets only; may be given several times."
)
@click.option(
    "--split",
    help="A split of the data set, or all: mean and standard deviation.  [default: the one the "
    "run was trained on]",
)
@click.option("--factor", default="", help="Compare a known factor of the videos, not the class.")
@click.option(
    "--clips", type=click.IntRange(min=1), help="Clips of a video.  [default: 10, or the recipe's]"
)
@click.option(
    "--crops",
    type=OneOf([str(n) for n in CROPS]),
    help="Crops of a clip: the centre, or three along the longer side.  [default: 1]",
)
@click.option("--layer", help="A layer of the network, such as layer3.  [default: the last]")
@click.option(
    "--pooling", type=OneOf(POOLINGS), help="Global pooling of the feature map.  [default: average]"
)
@click.option(
    "--centring",
    type=OneOf(CENTRINGS),
    default="none",
    show_default=True,
    help="Retrieval and kNN: mean-centre the features before the cosine similarity: not at all, by "
    "each set's own mean, or by the gallery's.",
)
@click.option(
    "--probe",
    type=OneOf(SOLVERS),
    default=SOLVERS[0],
    show_default=True,
    help="Linear: how the classifier is fitted to stored features.",
)
@click.option(
    "--raw", is_flag=True, help="Linear, fewshot: features as they are, not standardised."
)
@click.option(
    "--on-the-fly",
    is_flag=True,
    help="Linear: train on augmented clips by SGD instead, the network frozen.",
)
@click.option(
    "--head",
    type=OneOf(HEADS),
    help="With --on-the-fly: a linear layer on the pooled map, or V-JEPA's attentive probe, which "
    "learns where in the map to look.  [default: linear]",
)
@click.option(
    "--classifier",
    metavar="RECIPE",
    help=f"Fine-tuning and --on-the-fly: {', '.join(recipes())}, or a .toml "
    "file.  [default: what fits data set and backbone]",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help=f"Change a setting of the clips ({', '.join(_OF_CLIPS)}) or of the classifier "
    "(classifier.lr=0.05); may be given several times.",
)
@with_device
@click.option(
    "--no-baseline",
    is_flag=True,
    help="Leave out the untrained networks, which every metric is computed for as well.",
)
@click.option(
    "--overwrite", is_flag=True, help="Recompute features and results that differ or are corrupt."
)
def command(device: str | None, **options: Any) -> None:
    """Evaluate a run, with the untrained network beside it as the baseline.

    Features are computed once and kept in the run's features/ (HDF5); results go to its results/.

    \b
      ascnet evaluate --task linear
      ascnet evaluate --task all --split all
      ascnet evaluate --weights r3d_18.pth --shards shards/ucf101

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet evaluate
    """
    from ascnet.actions.evaluate import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
