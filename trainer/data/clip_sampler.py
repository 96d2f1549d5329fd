"""Which clips a step takes: pure functions of (seed, step, rank), before anything is read."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from builder.shards.dataset import Video
from trainer.data.clip_policy import (
    Place,
    clip_frames,
    clock_of,
    is_short,
    last_start,
    random_shot,
    random_start,
    stored_stride,
    two_strides,
)
from trainer.distributed import ALONE, Rank
from trainer.errors import TrainerError
from trainer.random_streams import CLIPS, ORDER, generator_of


@dataclass(frozen=True)
class ClipRequest:
    """One clip to read.

    Attributes:
        video: position in the list of videos
        frames: frame numbers, T of them
        stride: the playback speed, the label of SCP
        jpegs: the frames, if they are streamed; else still to be read
    """

    video: int
    frames: tuple[int, ...]
    stride: int
    jpegs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Timing:
    """What of a video decides which frames a clip of it has.

    Attributes:
        frames: of the video
        rate: stored frames a frame of stride 1; 1 unless strides are in seconds
        times: seconds, of uneven ones that strides follow
        cuts: the frames at which a new shot begins, where these are known
    """

    frames: int
    rate: float = 1.0
    times: Sequence[float] | None = None
    cuts: Sequence[int] = ()

    def place(self, length: int, stride: int) -> Place:
        """Where a clip of `length` frames at this stride may lie, whatever the cuts."""
        return Place(length, stride * self.rate, self.frames, clock_of(self.times))

    def shots(self, length: int, stride: int) -> list[Place]:
        """Where it may lie in each shot; in all of a video whose cuts are not known."""
        return self.place(length, stride).shots(self.cuts)

    def is_short(self, length: int, stride: int) -> bool:
        """Whether the clip fits no shot."""
        if self.cuts:
            return all(last_start(shot) < 0 for shot in self.shots(length, stride))
        return is_short(length, stride * self.rate, self.frames, self.times)


@dataclass(frozen=True)
class Pairs:
    """How the two clips of a video are drawn.

    Attributes:
        length: frames of a clip
        replacement: whether both clips may get the same stride
        policy: what a clip does that does not fit
    """

    length: int
    strides: tuple[int, ...]
    replacement: bool
    policy: str
    seed: int


@dataclass(frozen=True)
class Batches:
    """A rank's equal share of joint batches, in rank order.

    Attributes:
        size: videos of a joint batch
    """

    numbers: range
    size: int
    rank: Rank = ALONE

    @property
    def share(self) -> int:
        """Videos of a batch that are this rank's."""
        return self.size // self.rank.world

    def draws(self, number: int) -> range:
        """The draws of the rank in the joint batch with this number."""
        first = number * self.size + self.rank.number * self.share
        return range(first, first + self.share)


def draw_pair(
    draw: int, video: int, timing: Timing, pairs: Pairs
) -> tuple[ClipRequest, ClipRequest]:
    """The two clips that draw number `draw` of the run takes of a video. The result depends on the
    arguments alone."""
    rng = generator_of(pairs.seed, draw, CLIPS)
    strides = two_strides(rng, pairs.strides, pairs.replacement)
    first, second = _draw_clips(rng, video, timing, strides, pairs)
    return first, second


def draw_some(
    count: int, draw: int, video: int, timing: Timing, pairs: Pairs
) -> tuple[ClipRequest, ...]:
    """So many clips that draw number `draw` takes of a video, their strides drawn one by one."""
    rng = generator_of(pairs.seed, draw, CLIPS)
    strides = (int(rng.choice(pairs.strides)) for _ in range(count))
    return tuple(_draw_clips(rng, video, timing, strides, pairs))


def _draw_clips(
    rng: np.random.Generator, video: int, timing: Timing, strides: Iterable[int], pairs: Pairs
) -> Iterator[ClipRequest]:
    """Clips of one shot of the video, which is drawn first: as often as it has starts at the
    largest stride, so the longer ones more often. Where no shot has one, by its frames."""
    shot = 0
    if timing.cuts:
        shot = random_shot(rng, timing.shots(pairs.length, max(pairs.strides)))
    for stride in strides:
        place = timing.shots(pairs.length, stride)[shot]
        start = random_start(rng, place, pairs.policy)
        yield ClipRequest(video, clip_frames(start, place, pairs.policy), stride)


def pair_requests(
    timings: Sequence[Timing], batches: Batches, pairs: Pairs
) -> Generator[list[ClipRequest], None, None]:
    """Training clips: two of each of the rank's videos; the first clips of all, then the second
    ones.

    Videos come in an endless row of permutations, so all are seen equally often and every batch is
    full however few there are. What batch i gets depends on (seed, i) alone, and does not change
    with the number of ranks.
    """
    return clip_requests(timings, batches, pairs, 2)


def clip_requests(
    timings: Sequence[Timing], batches: Batches, pairs: Pairs, clips: int
) -> Generator[list[ClipRequest], None, None]:
    """As `pair_requests`, of so many clips of each video: pairs where there are two clips and
    several strides, else clips whose strides are drawn one by one."""
    shuffled = Permutations(len(timings), pairs.seed)
    draw_clips = draw_pair if clips == 2 and len(pairs.strides) > 1 else partial(draw_some, clips)
    for number in batches.numbers:
        drawn = [(draw, shuffled[draw]) for draw in batches.draws(number)]
        of_videos = [draw_clips(draw, video, timings[video], pairs) for draw, video in drawn]
        yield [request for of_number in zip(*of_videos, strict=True) for request in of_number]


class Permutations:
    """Entry i of an endless row of permutations of 0 .. count - 1."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, draw: int) -> int:
        epoch, place = divmod(draw, self._count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator_of(self._seed, epoch, ORDER).permutation(self._count)
        return int(self._order[place])


def count_short(timings: Sequence[Timing], length: int, stride: int) -> int:
    """How many videos are too short for a clip of `length` frames at a stride."""
    return sum(timing.is_short(length, stride) for timing in timings)


def timings_of(videos: Sequence[Video], fps: float) -> tuple[Timing, ...]:
    """Strides count stored frames (`fps` 0), or frames at so many a second: then videos of unevenly
    spaced frames have their times. Raises TrainerError for a video of unknown rate."""
    if not fps:
        return tuple(Timing(video.frames, cuts=video.cuts) for video in videos)
    unknown = [video.name for video in videos if not video.fps]
    if unknown:
        raise TrainerError(
            f"{len(unknown)} of {len(videos)} videos have no known frame rate, such as "
            f"{unknown[0]}, and strides count frames at {fps:g} a second. Count stored frames "
            "instead (--set data.fps=0 when training, --set fps=0 when evaluating), or build the "
            "data set with --fps."
        )
    return tuple(
        Timing(v.frames, stored_stride(1, v.fps or fps, fps), v.times, v.cuts) for v in videos
    )
