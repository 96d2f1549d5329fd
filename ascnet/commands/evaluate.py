"""`ascnet evaluate`: its options and help."""

from typing import Any

import click

from ascnet.options import OneOf, Place, UserPath, Whole, with_device, with_weights
from evaluate.choices import ALL, CENTRINGS, CROPS, HEADS, POOLINGS, SOLVERS, TASKS
from evaluate.finetune.shipped import recipes

_OF_CLIPS = (
    *("frames", "stride", "fps", "short_videos", "size", "short_side", "normalise", "every"),
    *("mirrored", "turned"),
)


@click.command("evaluate")
@click.option(
    "--task",
    type=OneOf([*TASKS, ALL]),
    default="retrieval",
    show_default=True,
    help="What to evaluate: nearest training videos of each test video (retrieval), a linear "
    "probe, a vote of the k nearest (knn), a classifier on few labels (fewshot), end-to-end "
    "training (finetune), or all of these.",
)
@click.option("--run", type=UserPath(), help="Run to evaluate.  [default: the newest in runs/]")
@click.option(
    "--checkpoint",
    metavar="STEP|all",
    help="Step of a kept checkpoint of the run, or all, which ends with a table of them.  "
    "[default: the newest]",
)
@with_weights
@click.option(
    "--shards",
    type=Place(),
    metavar="PLACE",
    help="Data sets to evaluate on: a folder of one or several, or a streamed one (a URL, or "
    "'pipe:COMMAND {}').  [default: those that the run was trained on; without a run, shards/]",
)
@click.option(
    "--dataset",
    "names",
    multiple=True,
    help="Evaluate only on this data set; may be given several times.",
)
@click.option(
    "--split",
    help="Split of the data set, or all for mean and standard deviation over them.  [default: the "
    "one that the run was trained on]",
)
@click.option(
    "--factor",
    default="",
    help="Label to evaluate in place of the class, for data sets that have more, such as tempo of "
    "shapes.",
)
@click.option(
    "--clips",
    type=Whole(min=1),
    help="Number of clips per video.  [default: that of the recipe, usually 10]",
)
@click.option(
    "--crops",
    type=OneOf([str(n) for n in CROPS]),
    help="Crops per clip: the centre, or three along the longer side.  [default: 1; with a "
    "classifier, its recipe's]",
)
@click.option(
    "--layer",
    help="Layer of the network whose output is used, such as layer3.  [default: the last]",
)
@click.option(
    "--pooling",
    type=OneOf(POOLINGS),
    help="Pooling of the layer's feature map.  [default: average]",
)
@click.option(
    "--centring",
    type=OneOf(CENTRINGS),
    default="none",
    show_default=True,
    help="For retrieval and knn, which mean feature to subtract before cosine similarities: none; "
    "from queries and gallery their own; or that of the gallery from both.",
)
@click.option(
    "--probe",
    type=OneOf(SOLVERS),
    default=SOLVERS[0],
    show_default=True,
    help="For linear, the solver that fits the classifier to stored features.",
)
@click.option(
    "--raw", is_flag=True, help="For linear and fewshot, do not standardise the features."
)
@click.option(
    "--on-the-fly",
    is_flag=True,
    help="For linear, train on augmented clips with a frozen network instead of on stored "
    "features.",
)
@click.option(
    "--head",
    type=OneOf(HEADS),
    help="For --on-the-fly, a linear layer on the pooled feature map, or V-JEPA's attentive probe, "
    "which learns to attend to positions of the map.  [default: linear]",
)
@click.option(
    "--classifier",
    metavar="RECIPE",
    help=f"Recipe for finetune and --on-the-fly: {', '.join(recipes())}, or a .toml file.  "
    "[default: the one for the data set and the backbone]",
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
    help="Do not evaluate the untrained networks for comparison.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace features and results that are damaged or were made with other settings.",
)
def command(device: str | None, **options: Any) -> None:
    """Evaluate a run, with the untrained network as the baseline.

    Features are computed once and kept in features/ of the run (HDF5); results are written to
    results/.

    \b
      ascnet evaluate --task linear
      ascnet evaluate --task all --split all
      ascnet evaluate --weights r3d_18.pth --shards shards/ucf101

    On several GPUs: torchrun --nproc-per-node=8 --no-python -- ascnet evaluate
    """
    from ascnet.actions.evaluate import run
    from ascnet.device import pick_device

    run(device=pick_device(device), **options)
