"""The data loader for other training scripts: batches of clips from local shards, in an order set
by the seed, resumable at any batch."""

import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from builder.shards.manifest import fingerprint
from trainer.config.settings import SHORT_VIDEOS, Augment, Data, augment_rules
from trainer.config.validation import (
    MOST_BATCH,
    MOST_CLIPS,
    MOST_FRAMES,
    MOST_SIDE,
    MOST_SIZE,
    MOST_STRIDE,
    MOST_WORKERS,
    SEED,
    Rule,
    check_rules,
    one_of,
    pixels_rule,
    range_rule,
    rate_rule,
    rules_of,
)
from trainer.data.augment import augment, draw_numbers, square_crop
from trainer.data.clip_reader import ClipBatch, ClipReader, read_batches
from trainer.data.clip_sampler import Batches, Pairs, clip_requests
from trainer.data.training_set import TrainingSet
from trainer.data.transfer import on_device, send
from trainer.distributed import Rank
from trainer.errors import TrainerError
from trainer.random_streams import AUGMENTATION, torch_seed

AUGMENTED, CROPPED, FRAMES = OUTPUTS = ("augmented", "cropped", "frames")
_ENDLESS = sys.maxsize
_OF_THE_MACHINE = ("workers",)  # may change when a script resumes
_KINDS = {
    **dict.fromkeys(("frames", "clips", "size", "batch", "seed", "short_side", "workers"), int),
    **dict.fromkeys(("output", "split", "short_videos"), str),
    "strides": tuple,
    "augment": Augment,
    "fps": float,
}


@dataclass(frozen=True)
class ClipSettings:
    """Which clips a training script gets.

    Attributes:
        frames: number of frames in a clip
        strides: frame strides (stride s plays at s times the speed), drawn at random for each clip;
            two clips of a video get different ones if there are several
        clips: number of clips of each video in a batch
        size: side of the square clip, in pixels
        batch: number of videos in a batch, over all ranks
        seed: decides the order of the videos, the clips and their augmentation
        output: "augmented" for random crops, "cropped" for the centre square, resized, "frames" for
            frames as stored
        augment: parameters of the random augmentation
        split: the split whose training videos are used
        short_videos: policy for clips longer than their video: loop | repeat_last | error
        short_side: decode JPEGs at a scale of 1/8 to 1/2 that leaves at least this many pixels on
            the short side; 0 for full size
        fps: strides count frames at this rate; 0 for stored frames
        workers: decoding threads; 0 for all cores this process may use, or its share of them
    """

    frames: int = 16
    strides: tuple[int, ...] = (1,)
    clips: int = 1
    size: int = 112
    batch: int = 32
    seed: int = 0
    output: str = AUGMENTED
    augment: Augment = field(default_factory=Augment)
    split: str = "1"
    short_videos: str = "loop"
    short_side: int = 0
    fps: float = 0.0
    workers: int = 0

    def __post_init__(self) -> None:
        """Raises TrainerError for the first setting with an invalid value."""
        if isinstance(self.strides, list):
            object.__setattr__(self, "strides", tuple(self.strides))
        check_rules(_kinds(self))
        check_rules(_rules(self))
        check_rules(augment_rules(self.augment))

    @property
    def data(self) -> Data:
        """The settings that select the videos, in the form of a recipe's."""
        return Data(
            split=self.split,
            frames=self.frames,
            strides=self.strides,
            short_videos=self.short_videos,
            fps=self.fps,
        )


@dataclass(frozen=True)
class LoadedClips:
    """A batch of N = `clips` x `batch` / ranks clips: the first clip of each video, then the second
    of each, and so on.

    Attributes:
        clips: float32, N x 3 x T x S x S, RGB normalised by MEAN and STD of trainer.data.augment;
            for output "frames" a list of N tensors, uint8, T x H x W x 3, valid until the next
            batch
        labels: int64, N: class numbers, counted over all data sets; -1 for no class
        videos: int64, N: positions among the training videos
        strides: int64, N
    """

    clips: torch.Tensor | list[torch.Tensor]
    labels: torch.Tensor
    videos: torch.Tensor
    strides: torch.Tensor


class ClipBatches:
    """An endless iterable of batches: in every epoch all training videos, shuffled.

    The contents of a batch depend on the settings and its number alone. `state_dict()` holds the
    number of the next batch; after `load_state_dict()` iteration continues there.
    """

    def __init__(
        self,
        data: TrainingSet,
        settings: ClipSettings,
        rank: Rank,
        device: torch.device,
    ) -> None:
        """Raises TrainerError if the ranks cannot share a batch equally."""
        if settings.batch % rank.world:
            raise TrainerError(
                f"{rank.world} processes cannot share a batch of {settings.batch} videos equally. "
                "Choose a batch that they divide."
            )
        self.videos, self.settings = data.videos, settings
        self._data, self._rank, self._device = data, rank, device
        self._labels = torch.tensor(data.labels)
        self._next = 0

    def __iter__(self) -> Iterator[LoadedClips]:
        settings, rank = self.settings, self._rank
        first = self._next
        shares = Batches(range(first, _ENDLESS), settings.batch, rank)
        pairs = Pairs(
            settings.frames, settings.strides, False, settings.short_videos, settings.seed
        )
        requests = clip_requests(self._data.timings, shares, pairs, settings.clips)
        reader = ClipReader(self.videos, settings.short_side)
        pinned = self._device.type == "cuda"
        read = read_batches(reader, requests, settings.workers, pinned)
        return self._made(on_device(read, self._device), first)

    def _made(
        self, batches: Generator[ClipBatch, None, None], first: int
    ) -> Generator[LoadedClips, None, None]:
        try:
            for number, batch in enumerate(batches, first):
                clips = self._clips(batch, number)
                self._next = number + 1
                yield LoadedClips(
                    clips,
                    send(self._labels[batch.videos], self._device),
                    send(batch.videos, self._device),
                    send(batch.strides, self._device),
                )
        finally:
            batches.close()

    def _clips(self, batch: ClipBatch, number: int) -> torch.Tensor | list[torch.Tensor]:
        settings = self.settings
        if settings.output == FRAMES:
            return list(batch.clips)
        if settings.output == CROPPED:
            return square_crop(batch.clips, settings.size)
        seed = torch_seed(settings.seed, number, AUGMENTATION)
        generator = torch.Generator().manual_seed(seed)
        joint = draw_numbers(settings.clips * settings.batch, generator)
        share = self._rank.share(settings.batch)
        numbers = torch.cat([rows[share] for rows in joint.chunk(settings.clips)])
        return augment(batch.clips, settings.augment, settings.size, send(numbers, self._device))

    def state_dict(self) -> dict[str, Any]:
        """The number of the next batch, the settings and the hashes of the data sets."""
        return {"next": self._next, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the next batch of `state`. The number of ranks may have changed. Raises
        TrainerError, naming the differences, if settings or data have changed."""
        identity = self._identity()
        missing = [name for name in ("next", *identity) if name not in state]
        if missing:
            raise TrainerError(
                f"This is no state of clip batches: it has no {', '.join(missing)}. Give what "
                "`state_dict()` returned."
            )
        settings = identity["settings"]
        changed = [
            f"{name} was {state['settings'].get(name)!r} and is {value!r}"
            for name, value in settings.items()
            if state["settings"].get(name) != value
        ]
        if state["sha256"] != identity["sha256"]:
            changed.append("the data sets differ")
        if changed:
            raise TrainerError(
                f"The state belongs to other clips: {'; '.join(changed)}. Give the same settings "
                "and shards, or begin anew without the state."
            )
        self._next = int(state["next"])

    def _identity(self) -> dict[str, Any]:
        settings = asdict(self.settings)
        for name in _OF_THE_MACHINE:
            del settings[name]
        settings["augment"] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in settings["augment"].items()
        }
        settings["strides"] = list(settings["strides"])
        return {
            "settings": settings,
            "sha256": [fingerprint(folder) for folder in self._data.sources],
        }


def _kinds(settings: ClipSettings) -> Iterator[Rule]:
    """Rules that each setting has its type; for float settings, int is accepted, too."""
    for name, kind in _KINDS.items():
        value, kinds = getattr(settings, name), (int, float) if kind is float else (kind,)
        yield type(value) in kinds, name, value, f"of type {kind.__name__}"
    are_whole = all(type(stride) is int for stride in settings.strides)
    yield are_whole, "strides", settings.strides, "whole numbers"


def _rules(settings: ClipSettings) -> Sequence[Rule]:
    strides = settings.strides
    are_allowed = bool(strides) and all(1 <= stride <= MOST_STRIDE for stride in strides)
    are_different = len(set(strides)) == len(strides)
    return [
        range_rule("frames", settings.frames, 1, MOST_FRAMES),
        (are_allowed and are_different, "strides", strides, f"1 to {MOST_STRIDE}, each once"),
        range_rule("clips", settings.clips, 1, MOST_CLIPS),
        range_rule("size", settings.size, 16, MOST_SIZE),
        pixels_rule("", settings.frames, settings.size),
        range_rule("batch", settings.batch, 1, MOST_BATCH),
        range_rule("short_side", settings.short_side, 0, MOST_SIDE),
        range_rule("workers", settings.workers, 0, MOST_WORKERS),
        rate_rule("fps", settings.fps),
        *rules_of(
            "",
            settings,
            SEED | {"output": one_of(OUTPUTS), "short_videos": one_of(SHORT_VIDEOS)},
        ),
    ]
