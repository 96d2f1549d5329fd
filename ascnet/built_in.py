"""The network that comes with the package, for `ascnet embed` and `ascnet search` without a run."""

from pathlib import Path

BUILT_IN = "built-in"  # as --weights
RECIPE = "built-in"
WEIGHTS = Path(__file__).parent / "assets" / "built-in.safetensors"
NOTE = (
    "Encoder: the built-in network, a small one trained on drawn shapes. It finds copies and "
    "similar motion; it does not know what a video shows. (--run, --weights or --encoder names "
    "another.)"
)


def is_built_in(weights: Path | None) -> bool:
    """Whether `--weights` names the built-in network. A file of that name in the working directory
    is named `./built-in`."""
    return weights is not None and str(weights) == BUILT_IN
