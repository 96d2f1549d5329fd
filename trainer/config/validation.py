"""Validation rules for settings, each with a description of what is allowed."""

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any

from builder.plain_name import is_plain_name
from trainer.errors import TrainerUsageError

Rule = tuple[bool, str, Any, str]  # whether it holds, setting's name, its value, what is allowed
Limits = dict[str, tuple[Callable[[Any], bool], str]]  # setting: a test, and what is allowed

# Recipes and runs may come from somebody else. These limits, far above what anybody trains with,
# keep their values from exhausting memory or running for ever.
MOST_FRAMES = 512  # frames of a clip
MOST_SIZE = 1024  # side of a clip, in pixels
MOST_PIXELS = 1 << 25  # pixels of a clip: 512 frames of 256 x 256, or 32 of 1024 x 1024
MOST_SIDE = 65_535  # side of a JPEG, in pixels
MOST_STRIDE = 10_000  # frames
MOST_RATE, LEAST_RATE = 1000, 0.001  # frames per second
MOST_CLIPS = 1000  # clips of a video
MOST_WORKERS = 1024  # threads
MOST_BATCH = 65_536
MOST_STEPS = 10**9

# Settings that pre-training and the training of a classifier have in common.
SEED: Limits = {"seed": (lambda seed: 0 <= seed < 2**32, "0 to 4294967295")}
LEARNING: Limits = {
    "epochs": (lambda epochs: 0 < epochs < 1e6, "positive, below a million"),
    "steps": (lambda n: 0 <= n <= MOST_STEPS, f"0 (then epochs count) to {MOST_STEPS}"),
    "batch": (lambda n: 2 <= n <= MOST_BATCH, f"2 to {MOST_BATCH} (batch norm needs two)"),
    "lr": (lambda rate: 0 < rate < inf, "positive"),
    "momentum": (lambda momentum: 0 <= momentum < 1, "in [0, 1)"),
    "weight_decay": (lambda decay: 0 <= decay < inf, "0 or more"),
    "warmup": (lambda share: 0 <= share < 1, "in [0, 1)"),
}


def check_rules(rules: Iterable[Rule]) -> None:
    """Raises TrainerError for the first rule that does not hold."""
    for is_fine, key, value, allowed in rules:
        if not is_fine:
            raise TrainerUsageError(f"{key} is {value!r}; allowed: {allowed}.")


def name_rule(key: str, name: str) -> Rule:
    """A rule for a name that becomes a path component: it must be a single one."""
    return (
        is_plain_name(name),
        key,
        name,
        "a plain name, part of a file name: no /, no control character, 255 bytes at most",
    )


def range_rule(key: str, value: int, least: int, most: int) -> Rule:
    """A rule for a number from `least` to `most`, inclusive."""
    return (least <= value <= most, key, value, f"{least} to {most}")


def rate_rule(key: str, fps: float) -> Rule:
    """A rule for the frame rate at which strides count."""
    allowed = f"0 (stored frames), or {LEAST_RATE:g} to {MOST_RATE}"
    return (fps == 0 or LEAST_RATE <= fps <= MOST_RATE, key, fps, allowed)


def pixels_rule(prefix: str, frames: int, size: int) -> Rule:
    """A rule for the total number of pixels of a clip. `prefix` precedes the settings' names."""
    pixels = frames * size * size
    name = f"{prefix}frames x {prefix}size x {prefix}size"
    return (pixels <= MOST_PIXELS, name, pixels, f"{MOST_PIXELS} pixels at most")


def rules_of(prefix: str, settings: Any, limits: Limits) -> Iterator[Rule]:
    """Yield a rule for each setting in `limits`. `prefix` precedes the settings' names."""
    for name, (is_fine, allowed) in limits.items():
        value = getattr(settings, name)
        yield is_fine(value), f"{prefix}{name}", value, allowed


def one_of(names: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    """The limit of a setting that takes one of several names: "sgd, lars or adamw"."""
    return names.__contains__, f"{', '.join(names[:-1])} or {names[-1]}"
