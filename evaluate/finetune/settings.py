"""All settings of a classifier's training, as frozen dataclasses. Recipes are TOML files of the
same structure.

A default is "ours" unless its description names a source: RSPNet (the configuration files of Chen
et al., AAAI 2021, by ASCNet's authors), SlowFast (those of Feichtenhofer et al., CVPR 2021) or
V-JEPA (those of Bardes et al. 2024, for Kinetics-400).
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluate.choices import CROPS, HEADS
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.finetune.shipped import RECIPES, recipes
from evaluate.protocol import Protocol
from trainer.config import recipe_file
from trainer.config.settings import PRECISIONS, Augment, augment_rules
from trainer.config.toml_text import read_toml
from trainer.config.validation import (
    LEARNING,
    LEAST_RATE,
    MOST_CLIPS,
    MOST_FRAMES,
    MOST_RATE,
    MOST_SIZE,
    MOST_STRIDE,
    MOST_WORKERS,
    SEED,
    Limits,
    Rule,
    check_rules,
    name_rule,
    one_of,
    range_rule,
    rules_of,
)
from trainer.errors import TrainerError

OPTIMISERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "steps")
CHOICES = ("last", "holdout")
NO_INFLUENCE = ("recipe", "workers")  # settings that do not change the numbers

_MOST_HEADS = 1024
_TINY = "r3d-tiny"
# Backbones that use the recipe of another one.
_STANDS_FOR = {
    "s3d": "s3dg",
    "s3d-coclr": "s3dg",
    "s3dg-rspnet": "s3dg",
    "r2plus1d-vcop": "r2plus1d18",
    "resnet18-hara": "r3d18",
    "r3d18-tclr": "r3d18",
}
_FALLBACK = "ucf101"  # its recipes are used for data sets without recipes
_ENCODER = "encoder"  # recipe for users' encoders


@dataclass(frozen=True)
class Clips:
    """The clips; 0 (fps: -1) leaves a value unchanged.

    Attributes:
        frames: frames of a clip
        stride: frame stride
        fps: strides count frames at this rate; 0: stored frames
        size: side of the square crop, in pixels
    """

    frames: int = 0
    stride: int = 0
    fps: float = -1.0
    size: int = 0


@dataclass(frozen=True)
class OfTest(Clips):
    """Clips of the test, and of training unless `train` changes them. 0: as in the run.

    Attributes:
        clips: clips per video, evenly spaced
        crops: crops per clip: 1 in the middle, or 3 along the longer side
    """

    clips: int = 0
    crops: int = 0


@dataclass(frozen=True)
class FinetuneSettings:
    """A recipe. The learning rate is not scaled with the batch size: change both.

    Attributes:
        recipe: name of the settings
        frozen: whether only the head is trained, and the backbone stays as it is
        head: linear: a linear layer on the pooled feature map. attentive: a learnt query attends to
            the positions of the map, and a linear layer follows; frozen backbones only; V-JEPA
        heads: number of attention heads; 0: one per 64 channels
        seed: seed of the head's weights, the order of the videos and the augmentation
        epochs: passes over the training videos; RSPNet
        steps: number of training steps, whatever the size of the data set; 0: given by `epochs`
        batch: clips per step, each of another video
        optimiser: the optimiser; RSPNet: sgd
        lr: learning rate at this batch size; RSPNet
        momentum: momentum of SGD; RSPNet
        weight_decay: weight decay, except for norms and biases; RSPNet
        warmup: share of the steps in which the learning rate rises; RSPNet: none
        schedule: how the learning rate falls: to 0 along a cosine, or in steps; RSPNet: cosine
        drops: schedule "steps": when the learning rate drops, as shares of all steps; RSPNet
        factor: schedule "steps": what each drop multiplies the learning rate by; RSPNet
        dropout: share of the features dropped before the last layer
        choose: the epoch that is tested: the last one, or the best on held-out groups (holdout)
        precision: number format; tf32 applies to convolutions, bf16 and fp16 use autocast
        workers: decoding threads per process; 0: number of available cores
        augment: augmentation of the training clips; RSPNet
        train: clips for training; 0 (fps: -1): as in the test
        test: clips for the test
    """

    recipe: str = "custom"
    frozen: bool = False
    head: str = HEADS[0]
    heads: int = 0
    seed: int = 0
    epochs: float = 30.0
    steps: int = 0
    batch: int = 32
    optimiser: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.0
    schedule: str = "cosine"
    drops: tuple[float, ...] = (0.5, 0.7, 0.9)
    factor: float = 0.1
    dropout: float = 0.0
    choose: str = "last"
    precision: str = "fp32"
    workers: int = 0
    augment: Augment = field(
        default_factory=lambda: Augment(area=(0.25, 1.0), jitter=0.0, gray=0.0, blur=0.0)
    )
    train: Clips = field(default_factory=Clips)
    test: OfTest = field(default_factory=OfTest)

    def __post_init__(self) -> None:
        check_rules(rules_for(self))


def rules_for(settings: FinetuneSettings) -> list[Rule]:
    """The allowed values of every setting, and whether its value is allowed."""
    return [
        *_rules(settings),
        *augment_rules(settings.augment),
        *_clips_rules("train.", settings.train),
        *_clips_rules("test.", settings.test),
    ]


def _rules(settings: FinetuneSettings) -> list[Rule]:
    limits: Limits = {
        "optimiser": one_of(OPTIMISERS),
        "schedule": one_of(SCHEDULES),
        "drops": (_are_rising, "shares of the steps in (0, 1), rising"),
        "factor": (lambda factor: 0 < factor <= 1, "in (0, 1]"),
        "dropout": (lambda share: 0 <= share < 1, "in [0, 1)"),
        "choose": one_of(CHOICES),
        "precision": one_of(PRECISIONS),
    }
    test, crops = settings.test, (0, *CROPS)
    return [
        name_rule("recipe", settings.recipe),
        *rules_of("", settings, SEED | LEARNING | limits),
        _head_rule(settings),
        range_rule("heads", settings.heads, 0, _MOST_HEADS),
        range_rule("workers", settings.workers, 0, MOST_WORKERS),
        range_rule("test.clips", test.clips, 0, MOST_CLIPS),  # 0: as in the run
        (test.crops in crops, "test.crops", test.crops, "0 (as in the run), 1, 3"),
    ]


def _head_rule(settings: FinetuneSettings) -> Rule:
    if settings.frozen:
        is_fine, allowed = one_of(HEADS)
        return (is_fine(settings.head), "head", settings.head, allowed)
    is_linear = settings.head == HEADS[0]
    return (is_linear, "head", settings.head, "linear (attentive only where frozen is true)")


def _are_rising(drops: tuple[float, ...]) -> bool:
    return list(drops) == sorted(set(drops)) and all(0 < drop < 1 for drop in drops)


def _clips_rules(prefix: str, clips: Clips) -> list[Rule]:
    most = {"frames": MOST_FRAMES, "stride": MOST_STRIDE, "size": MOST_SIZE}
    limits: Limits = {
        name: (range(end + 1).__contains__, f"0 (unchanged) to {end}") for name, end in most.items()
    }
    rates = f"-1 (unchanged), 0 (stored frames), or {LEAST_RATE:g} to {MOST_RATE}"
    limits["fps"] = (lambda fps: fps in (-1, 0) or LEAST_RATE <= fps <= MOST_RATE, rates)
    return list(rules_of(prefix, clips, limits))


def recipe_for(dataset: str, backbone: str, frozen: bool, head: str = HEADS[0]) -> str:
    """The default recipe: `demo`, `demo-linear` or `demo-attentive` for the small CPU backbone;
    otherwise `linear` or `attentive` for a frozen backbone; otherwise that of the data set and the
    backbone. Data sets without a recipe use UCF-101's; users' encoders use `encoder`."""
    if backbone == _TINY:
        return f"demo-{head}" if frozen else "demo"
    if frozen:
        return head
    net = _STANDS_FOR.get(backbone, backbone)
    fitting = (f"{dataset}-{net}", f"{_FALLBACK}-{net}")
    return next((name for name in fitting if name in recipes()), _ENCODER)


def load_recipe(name: str, assignments: tuple[str, ...] = (), prefix: str = "") -> FinetuneSettings:
    """Load a shipped recipe by name, or a TOML file by path, and apply changes in the form of
    `--set` ("lr=0.05", "augment.flip=0"), each with `prefix`. Raises EvaluateError if there is no
    such recipe or setting, or if a value is not allowed."""
    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            kind = EvaluateError if name.endswith(".toml") else EvaluateUsageError
            raise kind(f"--classifier: {recipe_file.no_recipe(name, recipes())}")
    try:
        table = read_toml(path)
        table.setdefault("recipe", path.stem)
        settings: FinetuneSettings = recipe_file.apply(FinetuneSettings(), table, str(path))
        return recipe_file.override(settings, assignments, prefix)
    except ValueError as error:
        raise EvaluateError(f"{path} is not valid TOML: {error}.") from error
    except TrainerError as error:
        raise EvaluateUsageError(str(error)) from error


def protocol_for(protocol: Protocol, settings: FinetuneSettings) -> Protocol:
    """A run's protocol, with the recipe's changes for the test."""
    test, changed = settings.test, _with(protocol, settings.test)
    return replace(changed, clips=test.clips or changed.clips, crops=test.crops or changed.crops)


def train_protocol(protocol: Protocol, settings: FinetuneSettings) -> Protocol:
    """The clips of training, given the protocol of the test."""
    return _with(protocol, settings.train)


def _with(protocol: Protocol, clips: Clips) -> Protocol:
    return replace(
        protocol,
        frames=clips.frames or protocol.frames,
        stride=clips.stride or protocol.stride,
        fps=protocol.fps if clips.fps < 0 else clips.fps,
        size=clips.size or protocol.size,
    )
