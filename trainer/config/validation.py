"""What each setting of a recipe may be."""

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from builder.shards.format import is_plain_name
from trainer.data.sampling import POLICIES
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.config.settings import Augment, Config

Rule = tuple[bool, str, Any, str]  # is it fine, its name, its value, what is allowed

OPTIMISERS = ("sgd", "lars", "adamw")
SPEED_TARGETS = ("place", "direction")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")

# A recipe or a run may be another's: what is far above all that anybody trains with would only fill
# the memory, or never end.
MOST_FRAMES = 512  # of a clip
MOST_SIZE = 1024  # pixels, side of a clip
MOST_PIXELS = 1 << 25  # of a clip: 512 frames of 256 x 256, or 32 of 1024 x 1024
MOST_SIDE = 65_535  # pixels of a JPEG
MOST_STRIDE = 10_000  # frames
MOST_RATE, LEAST_RATE = 1000, 0.001  # frames a second
MOST_CLIPS = 1000  # of a video
MOST_WORKERS = 1024  # threads
MOST_BATCH = 65_536
MOST_STEPS = 10**9
_STRIDES = 64  # different ones
_WIDTH = 16_384  # of a layer
_BANK_NUMBERS = 1 << 28  # of one memory bank: 1 GB


def check(config: "Config") -> None:
    """Raises TrainerError for the first setting that has a value it may not have."""
    check_rules(_data(config))
    check_rules(augment_rules(config.augment))
    for rules in (_objective, _optim, _rest):
        check_rules(rules(config))


def check_rules(rules: Iterable[Rule]) -> None:
    """Raises TrainerError for the first rule that is broken."""
    for is_fine, key, value, allowed in rules:
        if not is_fine:
            raise TrainerError(f"{key} is {value!r}; allowed: {allowed}.")


def name_rule(key: str, name: str) -> Rule:
    """What becomes part of a path is one part of it."""
    return (
        is_plain_name(name),
        key,
        name,
        "a plain name (it is part of a file's): no /, no control character, 255 bytes at most",
    )


def range_rule(key: str, value: int, least: int, most: int) -> Rule:
    """A number with two ends."""
    return (least <= value <= most, key, value, f"{least} to {most}")


def rate_rule(key: str, fps: float) -> Rule:
    """At how many frames a second strides count."""
    allowed = f"0 (stored frames), or {LEAST_RATE:g} to {MOST_RATE}"
    return (fps == 0 or LEAST_RATE <= fps <= MOST_RATE, key, fps, allowed)


def pixels_rule(prefix: str, frames: int, size: int) -> Rule:
    """What a clip is in all. `prefix`: of the names of the settings."""
    pixels = frames * size * size
    name = f"{prefix}frames x {prefix}size x {prefix}size"
    return (pixels <= MOST_PIXELS, name, pixels, f"{MOST_PIXELS} pixels at most")


def _data(config: "Config") -> list[Rule]:
    data = config.data
    return [
        name_rule("data.split", data.split),
        range_rule("data.frames", data.frames, 1, MOST_FRAMES),
        (
            len(data.strides) <= _STRIDES,
            "data.strides",
            f"a list of {len(data.strides)}",
            f"{_STRIDES} speeds at most",
        ),
        (
            all(1 <= stride <= MOST_STRIDE for stride in data.strides),
            "data.strides",
            data.strides,
            f"positive numbers, {MOST_STRIDE} at most",
        ),
        (
            len(set(data.strides)) == len(data.strides) >= 2,
            "data.strides",
            data.strides,
            "two different speeds or more, each once",
        ),
        range_rule("data.size", data.size, 16, MOST_SIZE),
        pixels_rule("data.", data.frames, data.size),
        range_rule("data.short_side", data.short_side, 0, MOST_SIDE),
        (data.short_videos in POLICIES, "data.short_videos", data.short_videos, any_of(POLICIES)),
        rate_rule("data.fps", data.fps),
        range_rule("data.workers", data.workers, 0, MOST_WORKERS),
        range_rule("data.streams", data.streams, 0, MOST_WORKERS),
        range_rule("data.shuffle_buffer", data.shuffle_buffer, 1, 1_000_000),
    ]


def augment_rules(augment: "Augment") -> list[Rule]:
    """What the settings of the augmentation may be, wherever they are used."""
    area, ratio = augment.area, augment.ratio
    two_shares = "two shares in (0, 1], the smaller first"
    two_ratios = "two numbers from 0.01 to 100, the smaller first"
    shares = ("flip", "jitter", "hue", "gray", "blur")
    chances = [(name, getattr(augment, name)) for name in shares]
    spreads = ("brightness", "contrast", "saturation")
    factors = [(name, getattr(augment, name)) for name in spreads]
    sigma = augment.blur_sigma
    return [
        *((0 <= value <= 1, f"augment.{name}", value, "0 to 1") for name, value in chances),
        *((0 <= value < inf, f"augment.{name}", value, "0 or more") for name, value in factors),
        (0 <= sigma[0] <= sigma[1] <= 100, "augment.blur_sigma", sigma, "0 to 100, smaller first"),
        (0 < area[0] <= area[1] <= 1, "augment.area", area, two_shares),
        (0.01 <= ratio[0] <= ratio[1] <= 100, "augment.ratio", ratio, two_ratios),
    ]


def _objective(config: "Config") -> list[Rule]:
    own = config.objective
    weights = [own.appearance_weight, own.speed_weight]
    return [
        (
            all(0 <= weight < inf for weight in weights) and any(weights),
            "objective.appearance_weight and objective.speed_weight",
            weights,
            "0 or more, one of them above 0",
        ),
        (
            0 <= own.appearance_contrast <= 1,
            "objective.appearance_contrast",
            own.appearance_contrast,
            "from 0 to 1",
        ),
        (
            0 <= own.decorrelation < inf,
            "objective.decorrelation",
            own.decorrelation,
            "0 or more",
        ),
        (0 <= own.momentum < 1, "objective.momentum", own.momentum, "in [0, 1)"),
        (own.bank >= 1, "objective.bank", own.bank, "at least 1"),
        (
            own.bank * config.model.dim <= _BANK_NUMBERS,
            "objective.bank x model.dim",
            own.bank * config.model.dim,
            f"{_BANK_NUMBERS} numbers at most (a GB for each space)",
        ),
        (
            1 <= own.neighbours <= own.bank,
            "objective.neighbours",
            own.neighbours,
            "from 1 to objective.bank",
        ),
        (
            own.speed_target in SPEED_TARGETS,
            "objective.speed_target",
            own.speed_target,
            any_of(SPEED_TARGETS),
        ),
        (0 <= own.speed_warmup <= 1, "objective.speed_warmup", own.speed_warmup, "in [0, 1]"),
        (0 <= own.collapse < 1, "objective.collapse", own.collapse, "in [0, 1)"),
        (
            own.collapse_steps >= 0,
            "objective.collapse_steps",
            own.collapse_steps,
            "0 (never stop) or more",
        ),
    ]


def _optim(config: "Config") -> list[Rule]:
    own = config.optim
    two_each = own.accumulate >= 1 and own.batch % own.accumulate == 0
    two_each = two_each and own.batch // own.accumulate >= 2
    return [
        (
            2 <= own.batch <= MOST_BATCH,
            "optim.batch",
            own.batch,
            f"2 to {MOST_BATCH} (batch norm needs two)",
        ),
        (
            two_each,
            "optim.accumulate",
            own.accumulate,
            f"what divides optim.batch ({own.batch}) into parts of two videos or more",
        ),
        (0 < own.epochs < 1e6, "optim.epochs", own.epochs, "positive, below a million"),
        (
            0 <= own.steps <= MOST_STEPS,
            "optim.steps",
            own.steps,
            f"0 (then epochs count) to {MOST_STEPS}",
        ),
        (own.optimiser in OPTIMISERS, "optim.optimiser", own.optimiser, any_of(OPTIMISERS)),
        (0 < own.lr < inf, "optim.lr", own.lr, "positive"),
        (0 <= own.momentum < 1, "optim.momentum", own.momentum, "in [0, 1)"),
        (0 <= own.weight_decay < inf, "optim.weight_decay", own.weight_decay, "0 or more"),
        (0 <= own.warmup < 1, "optim.warmup", own.warmup, "in [0, 1)"),
        (own.trust > 0, "optim.trust", own.trust, "positive"),
        (own.clip >= 0, "optim.clip", own.clip, "0 (no limit) or more"),
    ]


def _rest(config: "Config") -> list[Rule]:
    precision = config.device.precision
    return [
        name_rule("recipe", config.recipe),
        (0 <= config.seed < 2**32, "seed", config.seed, "0 to 4294967295"),
        (config.log_every >= 1, "log_every", config.log_every, "at least 1"),
        (config.checkpoint_every >= 1, "checkpoint_every", config.checkpoint_every, "at least 1"),
        range_rule("milestones", config.milestones, 0, 10_000),
        range_rule("model.hidden", config.model.hidden, 1, _WIDTH),
        range_rule("model.dim", config.model.dim, 2, _WIDTH),
        (precision in PRECISIONS, "device.precision", precision, any_of(PRECISIONS)),
        range_rule("evaluate.clips", config.evaluate.clips, 1, MOST_CLIPS),
        range_rule("evaluate.stride", config.evaluate.stride, 1, MOST_STRIDE),
    ]


def any_of(names: Any) -> str:
    """ "sgd, lars or adamw"."""
    *most, last = names
    return f"{', '.join(most)} or {last}"
