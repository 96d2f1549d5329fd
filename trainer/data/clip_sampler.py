"""Draw the clips of a step: pure functions of (seed, step, rank); no frame is read here."""

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
    """A clip to be read.

    Attributes:
        video: position in the list of videos
        frames: its T frame numbers
        stride: the playback speed, which is SCP's label
        jpegs: its T encoded frames where shards are streamed; () if they are still to be read
    """

    video: int
    frames: tuple[int, ...]
    stride: int
    jpegs: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Timing:
    """The properties of a video that decide which frames its clips have.

    Attributes:
        frames: number of frames in the video
        rate: stored frames per unit of stride; 1 unless strides follow seconds
        times: frame times in seconds, where strides follow seconds and frames are unevenly spaced
        cuts: the frames at which new shots begin, where these are known
    """

    frames: int
    rate: float = 1.0
    times: Sequence[float] | None = None
    cuts: Sequence[int] = ()

    def place(self, length: int, stride: int) -> Place:
        """The place of a clip of `length` frames at a stride in the whole video, whatever its
        cuts."""
        return Place(length, stride * self.rate, self.frames, clock_of(self.times))

    def shots(self, length: int, stride: int) -> list[Place]:
        """The place of such a clip in each shot; in the whole video if its cuts are not known."""
        return self.place(length, stride).shots(self.cuts)

    def is_short(self, length: int, stride: int) -> bool:
        """Whether such a clip fits no shot."""
        if self.cuts:
            return all(last_start(shot) < 0 for shot in self.shots(length, stride))
        return is_short(length, stride * self.rate, self.frames, self.times)


@dataclass(frozen=True)
class Pairs:
    """How the two clips of a video are drawn.

    Attributes:
        length: number of frames in a clip
        replacement: whether both clips may get the same stride
        policy: for clips that do not fit, a key of `clip_policy.POLICIES`
    """

    length: int
    strides: tuple[int, ...]
    replacement: bool
    policy: str
    seed: int


@dataclass(frozen=True)
class Batches:
    """A rank's share of joint batches, which ranks share equally, in rank order.

    Attributes:
        numbers: numbers of the joint batches
        size: number of videos in a joint batch
    """

    numbers: range
    size: int
    rank: Rank = ALONE

    @property
    def share(self) -> int:
        """Number of videos of a joint batch that are this rank's."""
        return self.size // self.rank.world

    def draws(self, number: int) -> range:
        """The rank's draws (numbers of videos, counted over the run) in joint batch `number`."""
        first = number * self.size + self.rank.number * self.share
        return range(first, first + self.share)


def draw_pair(
    draw: int, video: int, timing: Timing, pairs: Pairs
) -> tuple[ClipRequest, ClipRequest]:
    """Draw two clips of a video. The result depends on the arguments alone; `draw` is the number of
    the draw in the run."""
    rng = generator_of(pairs.seed, draw, CLIPS)
    strides = two_strides(rng, pairs.strides, pairs.replacement)
    first, second = _draw_clips(rng, video, timing, strides, pairs)
    return first, second


def draw_some(
    count: int, draw: int, video: int, timing: Timing, pairs: Pairs
) -> tuple[ClipRequest, ...]:
    """As `draw_pair`, but `count` clips, their strides drawn independently."""
    rng = generator_of(pairs.seed, draw, CLIPS)
    strides = (int(rng.choice(pairs.strides)) for _ in range(count))
    return tuple(_draw_clips(rng, video, timing, strides, pairs))


def _draw_clips(
    rng: np.random.Generator, video: int, timing: Timing, strides: Iterable[int], pairs: Pairs
) -> Iterator[ClipRequest]:
    """Draw a shot of the video, then the clips from it. The probability of a shot is proportional
    to its number of starts at the largest stride; if no shot has one, to its number of frames."""
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
    """Yield a batch of training clips at a time: two of each of the rank's videos, the first clips
    of all videos, then the second ones.

    Videos come in an endless series of permutations, so all are seen equally often and every batch
    is full, however few there are. The contents of joint batch i depend on (seed, i) alone, not on
    the number of ranks.
    """
    return clip_requests(timings, batches, pairs, 2)


def clip_requests(
    timings: Sequence[Timing], batches: Batches, pairs: Pairs, clips: int
) -> Generator[list[ClipRequest], None, None]:
    """As `pair_requests`, with `clips` clips of each video: pairs by `draw_pair` if there are two
    clips and several strides, else clips whose strides are drawn independently."""
    shuffled = Permutations(len(timings), pairs.seed)
    draw_clips = draw_pair if clips == 2 and len(pairs.strides) > 1 else partial(draw_some, clips)
    for number in batches.numbers:
        drawn = [(draw, shuffled[draw]) for draw in batches.draws(number)]
        of_videos = [draw_clips(draw, video, timings[video], pairs) for draw, video in drawn]
        yield [request for of_number in zip(*of_videos, strict=True) for request in of_number]


class Permutations:
    """An endless series of random permutations of 0 .. count - 1; entry i by its index."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, draw: int) -> int:
        epoch, position = divmod(draw, self._count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = generator_of(self._seed, epoch, ORDER).permutation(self._count)
        return int(self._order[position])


def count_short(timings: Sequence[Timing], length: int, stride: int) -> int:
    """Number of videos too short for a clip of `length` frames at a stride."""
    return sum(timing.is_short(length, stride) for timing in timings)


def timings_of(videos: Sequence[Video], fps: float) -> tuple[Timing, ...]:
    """The timing of each video. Strides count stored frames if `fps` is 0, else frames at `fps`;
    then timings of videos with unevenly spaced frames hold frame times, and TrainerError is raised
    for a video of unknown frame rate."""
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
