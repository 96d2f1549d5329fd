"""All settings of a training run, as frozen dataclasses; a recipe is a TOML file of this structure.

A default is our choice ("ours") unless its description names a source: the paper (Huang et al.,
ICCV 2021), RSPNet (AAAI 2021, three authors in common) or BYOL for video (Feichtenhofer et al.,
CVPR 2021). The rules that validate the settings follow below them.
"""

from dataclasses import dataclass, field
from math import inf

from trainer.config.validation import (
    LEARNING,
    MOST_CLIPS,
    MOST_FRAMES,
    MOST_SIDE,
    MOST_SIZE,
    MOST_STRIDE,
    MOST_WORKERS,
    SEED,
    Limits,
    Rule,
    check_rules,
    name_rule,
    one_of,
    pixels_rule,
    range_rule,
    rate_rule,
    rules_of,
)

SHORT_VIDEOS = ("loop", "repeat_last", "error")
OPTIMISERS = ("sgd", "lars", "adamw")
SPEED_TARGETS = ("neighbour", "direction")
NORMALISATIONS = ("fixed", "clip", "motion")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_STRIDES = 64  # largest number of strides
_WIDTH = 16_384  # largest width of a layer
_BANK_NUMBERS = 1 << 28  # largest number of values in a memory bank, for each space: 1 GB


@dataclass(frozen=True)
class Data:
    """Which clips are drawn, and how they are read.

    Attributes:
        split: train on this split's training videos
        frames: frames of a clip; paper, R3D-18
        strides: frame strides, one per playback speed; paper
        size: side of the square crop, in pixels; paper, R3D-18
        short_side: decode JPEGs at 1/8 to 1/2 of their size if their short side keeps at least this
            many pixels; 0: at full size
        normalise: "fixed": by the mean and standard deviation of Kinetics-400. "clip" (ours): by
            those of each clip, so that dark and washed-out videos look alike. "motion" (ours): each
            pixel minus its mean over the clip's frames, divided by the clip's standard deviation,
            so that only motion remains if the camera stands still
        short_videos: how a clip that is longer than its video is filled: from the start again
            (loop), with the last frame (repeat_last), or not at all (error)
        replacement: whether both clips of a video may have the same stride
        fps: strides count frames at this rate, so that playback speeds are in seconds; 0: stored
            frames
        workers: decoding threads per process; 0: its share of the available cores
        streaming: read local shards from start to end, as remote ones always are
        streams: shards that each process reads at a time when streaming; 0: up to 4
        shuffle_buffer: videos among which each process shuffles when streaming
    """

    split: str = "1"
    frames: int = 16
    strides: tuple[int, ...] = (1, 2)
    size: int = 112
    short_side: int = 0
    normalise: str = "fixed"
    short_videos: str = "loop"
    replacement: bool = False
    fps: float = 0.0
    workers: int = 0
    streaming: bool = False
    streams: int = 0
    shuffle_buffer: int = 256


@dataclass(frozen=True)
class Augment:
    """Random augmentation of clips.

    Attributes:
        area: smallest and largest crop, as a share of the frame's area
        ratio: smallest and largest aspect ratio of the crop, width / height; RSPNet
        flip: probability of a horizontal flip; RSPNet
        jitter: probability that brightness, contrast, saturation and hue change; RSPNet (aug_plus)
        brightness: largest relative change; RSPNet
        contrast: largest relative change; RSPNet
        saturation: largest relative change; RSPNet
        hue: largest shift, in turns of the colour circle; RSPNet (aug_plus)
        gray: probability of a clip without colour; RSPNet
        blur: probability of a Gaussian blur; RSPNet (aug_plus)
        blur_sigma: smallest and largest standard deviation of the blur, in pixels of a 224-pixel
            crop; BYOL-video
    """

    area: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    gray: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)


@dataclass(frozen=True)
class Model:
    """The networks.

    Attributes:
        backbone: the 3D-CNN
        hidden: hidden width of projection heads and predictors
        dim: dimensions of both embedding spaces; BYOL-video
        init: file of weights that the backbone starts with; "": random weights
    """

    backbone: str = "r3d18"
    hidden: int = 2048
    dim: int = 256
    init: str = ""


@dataclass(frozen=True)
class Objective:
    """The losses, the target network and the memory bank.

    Attributes:
        momentum: initial momentum of the target network, which rises to 1 along a cosine; 0: one
            shared encoder with a stop-gradient
        appearance_weight: lambda_a, the weight of appearance consistency perception (ACP)
        speed_weight: lambda_m, the weight of speed consistency perception (SCP)
        appearance_contrast: ACP's target is the other clip's embedding minus this share of the
            mean of its `neighbours` nearest, at any speed (ours); 0: the other clip's embedding, as
            in the paper
        decorrelation: weight of the mean squared correlation of the backbone's channels (ours),
            over the clips of all processes, or of one part if `optim.accumulate` is above 1; 0: no
            such penalty
        bank: clips in the memory bank; RSPNet's queue
        neighbours: number of nearest neighbours in appearance, for SCP and for the contrast. The
            paper's figure draws three; a reader's note on the paper says one
        speed_target: SCP's target: "neighbour", the neighbour's embedding (paper), or "direction",
            the mean of the nearest neighbours at the clip's own speed minus that of those at other
            speeds (ours)
        exclude_siblings: whether clips of the same source recording are never neighbours
        speed_warmup: share of the steps before SCP starts, while the bank fills
        collapse: embeddings count as collapsed if their standard deviation is below this share of
            its healthy value
        collapse_steps: stop a run that has been collapsed for this many steps; 0: never
    """

    momentum: float = 0.996
    appearance_weight: float = 1.0
    speed_weight: float = 1.0
    appearance_contrast: float = 0.0
    decorrelation: float = 0.0
    bank: int = 16384
    neighbours: int = 1
    speed_target: str = "neighbour"
    exclude_siblings: bool = True
    speed_warmup: float = 0.05
    collapse: float = 0.1
    collapse_steps: int = 500


@dataclass(frozen=True)
class Optim:
    """Batches, steps and the optimiser.

    Attributes:
        batch: videos per step, over all processes; each gives two clips
        accumulate: parts into which a batch is divided, computed one by one to save memory
        epochs: passes over the training videos; RSPNet
        steps: number of training steps, whatever the size of the data set; 0: given by `epochs`
        optimiser: the optimiser; RSPNet: sgd
        lr: learning rate at batch 64, scaled linearly with the batch (that of a classifier, in
            evaluate/finetune/settings.py, is not scaled); RSPNet
        warmup: share of the steps in which the learning rate rises
        momentum: momentum of SGD and LARS; RSPNet
        weight_decay: weight decay, except for norms and biases; RSPNet
        trust: LARS: learning rate as a share of |weights| / |gradient|; BYOL-video
        clip: maximum norm of the gradient; 0: no limit
    """

    batch: int = 64
    accumulate: int = 1
    epochs: float = 200.0
    steps: int = 0
    optimiser: str = "sgd"
    lr: float = 0.1
    warmup: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    trust: float = 0.001
    clip: float = 0.0


@dataclass(frozen=True)
class Device:
    """How the model is executed: settings for the machine, not part of the method.

    Attributes:
        precision: number format; tf32 applies to convolutions, bf16 and fp16 use autocast
        channels_last: whether clips and weights are channels-last in memory
        compile: whether to compile the encoder with torch.compile
        sync_bn: whether batch norm covers the clips of all processes (BYOL-video)
    """

    precision: str = "fp32"
    channels_last: bool = True
    compile: bool = False
    sync_bn: bool = True


@dataclass(frozen=True)
class Evaluate:
    """Defaults for evaluating a run.

    Attributes:
        clips: clips per video, evenly spaced; RSPNet
        stride: frame stride of test clips; RSPNet
    """

    clips: int = 10
    stride: int = 1


@dataclass(frozen=True)
class Config:
    """All settings of a run: a recipe. Written to the run's `config.toml`.

    Attributes:
        recipe: name of the settings
        seed: seed of the weights, the order of the videos and the augmentation
        log_every: steps between lines of the log
        checkpoint_every: steps between checkpoints; the last two are kept
        milestones: evenly spaced checkpoints that are never deleted, including the last one
    """

    recipe: str = "custom"
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 500
    milestones: int = 4
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    model: Model = field(default_factory=Model)
    objective: Objective = field(default_factory=Objective)
    optim: Optim = field(default_factory=Optim)
    device: Device = field(default_factory=Device)
    evaluate: Evaluate = field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        """Raises TrainerError for the first setting that has a value it may not have."""
        check_rules(rules_for(self))


def rules_for(config: Config) -> list[Rule]:
    """What every setting may be, and whether it is."""
    return [
        *_data_rules(config.data),
        *augment_rules(config.augment),
        *_objective_rules(config.objective, config.model.dim),
        *rules_of("optim.", config.optim, LEARNING | _OPTIM),
        _parts_rule(config.optim),
        *_other_rules(config),
    ]


_OBJECTIVE: Limits = {
    "appearance_contrast": (lambda share: 0 <= share <= 1, "from 0 to 1"),
    "decorrelation": (lambda weight: 0 <= weight < inf, "0 or more"),
    "momentum": (lambda momentum: 0 <= momentum < 1, "in [0, 1)"),
    "bank": (lambda clips: clips >= 2, "at least 2"),
    "speed_target": one_of(SPEED_TARGETS),
    "speed_warmup": (lambda share: 0 <= share <= 1, "in [0, 1]"),
    "collapse": (lambda share: 0 <= share < 1, "in [0, 1)"),
    "collapse_steps": (lambda steps: steps >= 0, "0 (never stop) or more"),
}
_OPTIM: Limits = {
    "optimiser": one_of(OPTIMISERS),
    "trust": (lambda trust: trust > 0, "positive"),
    "clip": (lambda norm: norm >= 0, "0 (no limit) or more"),
}


def _data_rules(data: Data) -> list[Rule]:
    strides, count = data.strides, len(data.strides)
    are_there = all(1 <= stride <= MOST_STRIDE for stride in strides)
    differ = len(set(strides)) == count >= 2
    return [
        name_rule("data.split", data.split),
        range_rule("data.frames", data.frames, 1, MOST_FRAMES),
        (count <= _STRIDES, "data.strides", f"a list of {count}", f"{_STRIDES} speeds at most"),
        (are_there, "data.strides", strides, f"positive numbers, {MOST_STRIDE} at most"),
        (differ, "data.strides", strides, "two different speeds or more, each once"),
        range_rule("data.size", data.size, 16, MOST_SIZE),
        pixels_rule("data.", data.frames, data.size),
        range_rule("data.short_side", data.short_side, 0, MOST_SIDE),
        *rules_of(
            "data.",
            data,
            {"short_videos": one_of(SHORT_VIDEOS), "normalise": one_of(NORMALISATIONS)},
        ),
        rate_rule("data.fps", data.fps),
        range_rule("data.workers", data.workers, 0, MOST_WORKERS),
        range_rule("data.streams", data.streams, 0, MOST_WORKERS),
        range_rule("data.shuffle_buffer", data.shuffle_buffer, 1, 1_000_000),
    ]


def augment_rules(augment: Augment) -> list[Rule]:
    """Rules for the settings of the augmentation, here and in the loader for other scripts."""
    two_shares = "two shares in (0, 1], the smaller first"
    two_ratios = "two numbers from 0.01 to 100, the smaller first"
    limits: Limits = {
        **dict.fromkeys(
            ("flip", "jitter", "hue", "gray", "blur"), (lambda share: 0 <= share <= 1, "0 to 1")
        ),
        **dict.fromkeys(
            ("brightness", "contrast", "saturation"), (lambda f: 0 <= f < inf, "0 or more")
        ),
        "blur_sigma": (lambda s: 0 <= s[0] <= s[1] <= 100, "0 to 100, smaller first"),
        "area": (lambda area: 0 < area[0] <= area[1] <= 1, two_shares),
        "ratio": (lambda ratio: 0.01 <= ratio[0] <= ratio[1] <= 100, two_ratios),
    }
    return list(rules_of("augment.", augment, limits))


def _objective_rules(objective: Objective, dim: int) -> list[Rule]:
    weights = [objective.appearance_weight, objective.speed_weight]
    are_weights = all(0 <= weight < inf for weight in weights) and any(weights)
    names = "objective.appearance_weight and objective.speed_weight"
    numbers, k = objective.bank * dim, objective.neighbours
    most = f"{_BANK_NUMBERS} numbers at most (a GB for each space)"
    is_within = 1 <= k <= objective.bank
    return [
        (are_weights, names, weights, "0 or more, one of them above 0"),
        *rules_of("objective.", objective, _OBJECTIVE),
        (numbers <= _BANK_NUMBERS, "objective.bank x model.dim", numbers, most),
        (is_within, "objective.neighbours", k, "from 1 to objective.bank"),
    ]


def _parts_rule(optim: Optim) -> Rule:
    parts = optim.accumulate
    is_divided = parts >= 1 and optim.batch % parts == 0 and optim.batch // parts >= 2
    allowed = f"what divides optim.batch ({optim.batch}) into parts of two videos or more"
    return (is_divided, "optim.accumulate", parts, allowed)


def _other_rules(config: Config) -> list[Rule]:
    positive = (lambda steps: steps >= 1, "at least 1")
    return [
        name_rule("recipe", config.recipe),
        *rules_of("", config, SEED | {"log_every": positive, "checkpoint_every": positive}),
        range_rule("milestones", config.milestones, 0, 10_000),
        range_rule("model.hidden", config.model.hidden, 1, _WIDTH),
        range_rule("model.dim", config.model.dim, 2, _WIDTH),
        *rules_of("device.", config.device, {"precision": one_of(PRECISIONS)}),
        range_rule("evaluate.clips", config.evaluate.clips, 1, MOST_CLIPS),
        range_rule("evaluate.stride", config.evaluate.stride, 1, MOST_STRIDE),
    ]
