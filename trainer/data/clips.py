"""Shards to batches of clips: threads read and decode only the frames that are needed.

The decoder releases the interpreter lock, so threads in the training process beat worker
processes: nothing is copied between them, and nothing goes through /dev/shm.
"""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch

from builder.cores import usable_cores
from builder.shards.dataset import Video, read_frames, read_offsets
from trainer.data.clip_sampler import ClipRequest
from trainer.data.decode import canvas_of, decode_clip
from trainer.errors import TrainerError

_AHEAD = 3  # batches that are being filled while one is in use
_REMEMBERED = 20_000  # videos whose frames' places are kept in memory, about a kilobyte each

Size = tuple[int, int]  # height and width of frames, pixels


@dataclass(frozen=True)
class ClipBatch:
    """N clips on canvases that fit the largest frame; a smaller frame lies at the top left.

    The arrays are used again for a later batch: take what you need before asking for the next.

    Attributes:
        frames: uint8, N x T x H x W x 3
        sizes: int64, N x 2: height and width of the frames in the canvas, pixels
        strides: int64, N
        videos: int64, N: position in the list of videos
    """

    frames: torch.Tensor
    sizes: torch.Tensor
    strides: torch.Tensor
    videos: torch.Tensor


class ClipReader:
    """Decodes clips of a list of videos, jumping to frames that are not read already. Safe to use
    from several threads."""

    def __init__(self, videos: Sequence[Video], short_side: int = 0) -> None:
        """`short_side`: decode at the smallest scale that libjpeg offers with at least so many
        pixels on the short side (cheaper than whole frames); 0 decodes whole frames."""
        self.videos = videos
        self._short_side = short_side
        self.height, self.width = canvas_of(videos, short_side)
        self._offsets = lru_cache(_REMEMBERED)(self._read_offsets)

    def _read_offsets(self, video: int) -> np.ndarray:
        return read_offsets(self.videos[video]).astype(np.uint32)

    def read(self, request: ClipRequest, canvas: np.ndarray) -> Size:
        """Decode a clip into `canvas` (uint8, T x H x W x 3); height and width come back. Raises
        TrainerError for a frame that is no JPEG."""
        video = self.videos[request.video]
        jpegs = request.jpegs or read_frames(video, self._offsets(request.video), request.frames)
        return decode_clip(jpegs, request.frames, video, canvas, self._short_side)


def read_batches(
    reader: ClipReader,
    requests: Iterable[Sequence[ClipRequest]],
    workers: int = 0,
    pinned: bool = False,
) -> Generator[ClipBatch, None, None]:
    """Batches of clips in the order of `requests`, decoded ahead by `workers` threads (0: as many
    as this process may use cores). All requests of a batch have the same number of frames.
    `pinned`: in page-locked memory, which a GPU copies from while it computes."""
    free: deque[torch.Tensor] = deque()
    waiting: deque[tuple[torch.Tensor, Sequence[ClipRequest], list[Future[Size]]]] = deque()

    def start(batch: Sequence[ClipRequest]) -> None:
        shape = (len(batch), len(batch[0].frames), reader.height, reader.width, 3)
        buffer = free.popleft() if free else torch.empty(0)
        if buffer.shape != shape:
            buffer = _new_buffer(shape, pinned)
        canvases = buffer.numpy()
        jobs = [pool.submit(reader.read, r, canvases[i]) for i, r in enumerate(batch)]
        waiting.append((buffer, batch, jobs))

    def finish() -> Iterator[ClipBatch]:
        buffer, batch, jobs = waiting.popleft()
        sizes = torch.tensor([job.result() for job in jobs])
        strides = torch.tensor([r.stride for r in batch])
        yield ClipBatch(buffer, sizes, strides, torch.tensor([r.video for r in batch]))
        free.append(buffer)

    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        try:
            for batch in requests:
                start(batch)
                if len(waiting) > _AHEAD:
                    yield from finish()
            while waiting:
                yield from finish()
        finally:
            for _, _, jobs in waiting:
                for job in jobs:
                    job.cancel()
            if isinstance(requests, Generator):
                requests.close()  # what is streamed holds threads and connections


def _must_fit(shape: tuple[int, ...]) -> None:
    """Raises TrainerError for canvases that no memory of this machine holds."""
    needed = (_AHEAD + 1) * prod(shape)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        clips, frames, height, width, _ = shape
        raise TrainerError(
            f"The largest frames are {width} x {height} pixels: {clips} clips of {frames} of them, "
            f"{_AHEAD + 1} times, take {needed / 1e9:.0f} GB, and this machine has "
            f"{there / 1e9:.0f} GB. Build the videos with a smaller --short-side, or take fewer "
            "frames or a smaller batch."
        )


def _new_buffer(shape: tuple[int, ...], pinned: bool) -> torch.Tensor:
    _must_fit(shape)
    if pinned:
        return torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
    # numpy asks the system for huge pages, torch does not; fewer page faults and TLB misses.
    return torch.from_numpy(np.zeros(shape, np.uint8))
