"""Labelled videos, and which clips of them a step learns from: pure functions of (seed, step)."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from builder.shards.dataset import Video
from evaluate.errors import EvaluateError
from evaluate.protocol import Protocol, clips_of
from trainer.data.clip_policy import Place, clip_frames, random_shot, random_start
from trainer.data.clip_sampler import Batches, ClipRequest, Permutations, timings_of
from trainer.random_streams import CLIPS, generator_of

_HELD_OUT = 5  # one in so many source groups is held out; as the linear probe does


@dataclass(frozen=True)
class LabelledVideos:
    """One part of a split.

    Attributes:
        labels: int64, one a video: 0 to classes - 1
    """

    videos: Sequence[Video]
    labels: np.ndarray

    def digest(self) -> str:
        """Changes with the videos, their order and their labels; not with where they lie."""
        lines = [
            f"{v.name}\t{label}\t{v.group}\t{v.frames}\t{v.fps}\t{v.height}\t{v.width}\t"
            f"{v.location.blob_bytes}{v.times or ''}{v.cuts or ''}\n"
            for v, label in zip(self.videos, self.labels.tolist(), strict=True)
        ]
        return sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()

    def where(self, wanted: np.ndarray) -> "LabelledVideos":
        """The videos for which `wanted` (bool, one a video) holds."""
        videos = [v for v, keep in zip(self.videos, wanted.tolist(), strict=True) if keep]
        return LabelledVideos(videos, self.labels[wanted])


def must_be_usable(part: LabelledVideos, name: str, classes: int) -> None:
    """Raises EvaluateError for a part without videos, or with a label that is none."""
    if not part.videos:
        raise EvaluateError(
            f"The {name} part holds no labelled video, so nothing can be learnt or tested. Choose "
            "another split, or another data set."
        )
    wrong = (part.labels < 0) | (part.labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise EvaluateError(
            f"{part.videos[first].name} of the {name} part has label {part.labels[first]}; with "
            f"{classes} classes labels are 0 to {classes - 1}. Leave unlabelled videos out."
        )


def hold_out(part: LabelledVideos) -> tuple[LabelledVideos, LabelledVideos]:
    """What is learnt from, and what is held out: every fifth source group. Raises EvaluateError if
    there are too few groups."""
    order = {group: i for i, group in enumerate(sorted({v.group for v in part.videos}))}
    if len(order) < _HELD_OUT:
        raise EvaluateError(
            f"choose is 'holdout', which holds every {_HELD_OUT}th source group of the train part "
            f"out, and there are {len(order)}. Say --set classifier.choose=last."
        )
    held = np.array([order[v.group] % _HELD_OUT == _HELD_OUT - 1 for v in part.videos])
    return part.where(~held), part.where(held)


def train_requests(
    videos: Sequence[Video], protocol: Protocol, batches: Batches, seed: int
) -> Generator[list[ClipRequest], None, None]:
    """The clips of a rank's share of these batches, one a step: one of a video, at random places.
    Videos come in an endless row of permutations, so all are seen equally often and every batch is
    full however few there are. What joint batch i gets depends on (seed, i) alone. Raises
    EvaluateError if a video is too short for the policy `error`."""
    clips_of(videos, protocol)
    timings = timings_of(videos, protocol.fps)
    places = [timing.shots(protocol.frames, protocol.stride) for timing in timings]
    shuffled = Permutations(len(videos), seed)
    return _requests(places, shuffled, protocol, batches, seed)


def _requests(
    places: list[list[Place]],
    shuffled: Permutations,
    protocol: Protocol,
    batches: Batches,
    seed: int,
) -> Generator[list[ClipRequest], None, None]:
    for step in batches.numbers:
        drawn = [(draw, shuffled[draw]) for draw in batches.draws(step)]
        yield [_draw(draw, video, places[video], protocol, seed) for draw, video in drawn]


def _draw(draw: int, video: int, shots: list[Place], protocol: Protocol, seed: int) -> ClipRequest:
    policy, rng = protocol.short_videos, generator_of(seed, draw, CLIPS)
    place = shots[random_shot(rng, shots) if len(shots) > 1 else 0]
    start = random_start(rng, place, policy)
    return ClipRequest(video, clip_frames(start, place, policy), protocol.stride)


def epoch_ends(videos: int, batch: int, total: int) -> dict[int, int]:
    """After how many steps which epoch is over: {step: epoch}, the last of them `total`. Of epochs
    that end with the same step, for there are few videos, one is named.

    videos = 100, batch = 32, total = 9     {3: 1, 6: 2, 9: 3}
    """
    ends: dict[int, int] = {}
    epoch, end = 0, 0
    while end < total:
        epoch += 1
        end = min(total, round(epoch * videos / batch))
        if end:
            ends[end] = epoch
    return ends
