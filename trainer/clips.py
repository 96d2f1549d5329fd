"""Shards to batches of clips: threads read and decode only the frames that are needed.

The decoder releases the interpreter lock, so threads in the training process beat worker
processes: nothing is copied between them, and nothing goes through /dev/shm.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import simplejpeg
import torch

from builder.shard import Video, read_frames, read_offsets
from trainer.errors import TrainerError
from trainer.sampling import clip_frames, clip_span, even_starts, random_start, two_strides

_AHEAD = 3  # batches that are being filled while one is in use


@dataclass(frozen=True)
class ClipRequest:
    """One clip to read."""

    video: int  # position in the list of videos
    frames: tuple[int, ...]  # frame numbers, T of them
    stride: int


@dataclass(frozen=True)
class ClipBatch:
    """N clips on canvases that fit the largest frame; a smaller frame lies at the top left.

    The arrays are used again for a later batch: take what you need before asking for the next.
    """

    frames: torch.Tensor  # uint8, N x T x H x W x 3
    sizes: torch.Tensor  # int64, N x 2: height and width of the frames in the canvas, pixels
    strides: torch.Tensor  # int64, N
    videos: torch.Tensor  # int64, N: position in the list of videos


class ClipReader:
    """Decodes clips of a list of videos. Safe to use from several threads."""

    def __init__(self, videos: Sequence[Video], short_side: int = 0) -> None:
        """`short_side`: decode at the smallest scale that libjpeg offers with at least so many
        pixels on the short side (cheaper than whole frames); 0 decodes whole frames."""
        self.videos = videos
        self._short_side = short_side
        self._offsets: dict[int, np.ndarray] = {}
        self.height, self.width = self._canvas()

    def _canvas(self) -> tuple[int, int]:
        """Height and width, in pixels, of the smallest canvas that every decoded frame fits."""
        one_of_each_size = {(v.height, v.width): i for i, v in enumerate(self.videos)}
        sizes = [self._decoded_size(i) for i in one_of_each_size.values()]
        return max(h for h, _ in sizes), max(w for _, w in sizes)

    def _decoded_size(self, video: int) -> tuple[int, int]:
        jpeg = read_frames(self.videos[video], self.offsets(video), [0])[0]
        side = self._short_side
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg, min_height=side, min_width=side)
        return height, width

    def offsets(self, video: int) -> np.ndarray:
        if video not in self._offsets:
            self._offsets[video] = read_offsets(self.videos[video])
        return self._offsets[video]

    def read(self, request: ClipRequest, canvas: np.ndarray) -> tuple[int, int]:
        """Decode a clip into `canvas` (uint8, T x H x W x 3); height and width come back. Raises
        TrainerError for a frame that is no JPEG."""
        jpegs = read_frames(self.videos[request.video], self.offsets(request.video), request.frames)
        side = self._short_side
        for t, jpeg in enumerate(jpegs):
            try:
                picture = simplejpeg.decode_jpeg(
                    jpeg, min_height=side, min_width=side, fastdct=True, fastupsample=True
                )
            except ValueError as error:
                video = self.videos[request.video]
                raise TrainerError(
                    f"Frame {request.frames[t]} of {video.name} in {video.shard} is no readable "
                    f"JPEG ({error}). The shard was changed after it was built; build it anew."
                ) from error
            height, width = picture.shape[:2]
            canvas[t, :height, :width] = picture
        return height, width


def read_batches(
    reader: ClipReader, requests: Iterable[Sequence[ClipRequest]], workers: int = 0
) -> Iterator[ClipBatch]:
    """Batches of clips in the order of `requests`, decoded ahead by `workers` threads (0: as many
    as there are cores). All requests of a batch have the same number of frames."""
    free: deque[torch.Tensor] = deque()
    waiting: deque[tuple[torch.Tensor, Sequence[ClipRequest], list[Future[tuple[int, int]]]]]
    waiting = deque()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:

        def start(batch: Sequence[ClipRequest]) -> None:
            shape = (len(batch), len(batch[0].frames), reader.height, reader.width, 3)
            buffer = free.popleft() if free else torch.zeros(shape, dtype=torch.uint8)
            if buffer.shape != shape:
                buffer = torch.zeros(shape, dtype=torch.uint8)
            canvases = buffer.numpy()
            jobs = [pool.submit(reader.read, r, canvases[i]) for i, r in enumerate(batch)]
            waiting.append((buffer, batch, jobs))

        def finish() -> ClipBatch:
            buffer, batch, jobs = waiting.popleft()
            sizes = torch.tensor([job.result() for job in jobs])
            in_use.append(buffer)
            return ClipBatch(
                buffer,
                sizes,
                torch.tensor([r.stride for r in batch]),
                torch.tensor([r.video for r in batch]),
            )

        in_use: deque[torch.Tensor] = deque()
        try:
            for batch in requests:
                start(batch)
                if len(waiting) > _AHEAD:
                    yield finish()
                    free.append(in_use.popleft())
            while waiting:
                yield finish()
                free.append(in_use.popleft())
        finally:
            for _, _, jobs in waiting:
                for job in jobs:
                    job.cancel()


def pair_requests(
    lengths: Sequence[int],
    steps: range,
    *,
    batch: int,
    clip_length: int,
    strides: tuple[int, ...],
    policy: str,
    seed: int,
) -> Iterator[list[ClipRequest]]:
    """Training clips of the given steps: `batch` videos a step, two clips of each at different
    strides; the first clips of all videos, then the second ones (2 * batch requests).

    `lengths` are the videos' frame counts. Videos come in an endless row of permutations, so all
    are seen equally often and every batch is full however few there are. What step i gets depends
    on (seed, i) alone.
    """
    shuffled = _Permutations(len(lengths), seed)
    for step in steps:
        first: list[ClipRequest] = []
        second: list[ClipRequest] = []
        for draw in range(step * batch, (step + 1) * batch):
            video = shuffled[draw]
            rng = np.random.default_rng([seed, draw, 1])
            for clips, stride in zip((first, second), two_strides(rng, strides), strict=True):
                place = {"length": clip_length, "stride": stride, "frames": lengths[video]}
                start = random_start(rng, **place, policy=policy)
                frames = clip_frames(start, **place, policy=policy)
                clips.append(ClipRequest(video, frames, stride))
        yield first + second


class _Permutations:
    """Entry i of an endless row of permutations of 0 .. count - 1."""

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, draw: int) -> int:
        epoch, place = divmod(draw, self._count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch, 0]).permutation(self._count)
        return int(self._order[place])


def even_requests(
    video: int, frames: int, *, clips: int, clip_length: int, stride: int, policy: str
) -> list[ClipRequest]:
    """`clips` evenly spaced clips of a video, the same on every call."""
    place = {"length": clip_length, "stride": stride, "frames": frames}
    starts = even_starts(clips, **place)
    return [
        ClipRequest(video, clip_frames(start, **place, policy=policy), stride) for start in starts
    ]


def count_short(lengths: Sequence[int], clip_length: int, strides: tuple[int, ...]) -> int:
    """How many videos are too short for a clip at the largest stride."""
    span = clip_span(clip_length, max(strides))
    return sum(length < span for length in lengths)
