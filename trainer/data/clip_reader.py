"""Read batches of clips from shards: threads read and decode only the frames that clips need.

The decoder releases the GIL, so threads in the training process are faster than worker processes:
nothing is copied between processes, and nothing goes through /dev/shm.
"""

import os
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch

from builder.cgroups import memory_limit
from builder.cores import usable_cores
from builder.shards.dataset import Video, read_offsets
from builder.shards.frame_reader import FrameReader
from trainer.data.clip_sampler import ClipRequest
from trainer.data.jpeg_decoding import decode_clips, decoded_size
from trainer.data.packed_clips import PackedClips, Size, bytes_of
from trainer.distributed import processes_here
from trainer.errors import TrainerError

HELD = 4  # batches in memory: one in use, the others being decoded
_ROOM = 1.125  # size of a new buffer relative to its batch: the next batch may need a little more
_SLACK = 1.5  # a buffer larger than this times the largest of the latest batches is replaced
_LATEST = 16  # batches after which an exceptionally large one no longer counts
_REMEMBERED = 20_000  # videos whose frame offsets are cached, about a kilobyte each


@dataclass(frozen=True)
class ClipBatch:
    """A batch of N clips.

    The buffer of the frames is reused for a later batch: copy what you need before you take the
    next one.

    Attributes:
        clips: the frames of N clips of T frames
        strides: int64, N
        videos: int64, N: positions in the list of videos
    """

    clips: PackedClips
    strides: torch.Tensor
    videos: torch.Tensor


class ClipReader:
    """Decodes clips of a list of videos, reading frames by random access unless the request holds
    them. Thread-safe."""

    def __init__(self, videos: Sequence[Video], short_side: int = 0) -> None:
        """`short_side`: decode at libjpeg's smallest scale that leaves at least this many pixels on
        the short side, which is faster; 0 decodes at full size."""
        self.videos = videos
        self._short_side = short_side
        self._offsets = lru_cache(_REMEMBERED)(self._read_offsets)
        self._of_thread = threading.local()

    def _read_offsets(self, video: int) -> np.ndarray:
        return read_offsets(self.videos[video]).astype(np.uint32)

    def size(self, request: ClipRequest) -> Size:
        """Height and width of the clip's decoded frames."""
        video = self.videos[request.video]
        return decoded_size(video.height, video.width, self._short_side)

    def read(self, requests: Sequence[ClipRequest], clips: Sequence[np.ndarray]) -> None:
        """Decode clips of one video, each into its array (uint8, T x H x W x 3); a frame that
        several share is read and decoded once. Raises TrainerError for a frame that is no JPEG."""
        number = requests[0].video
        video, frames = self.videos[number], [request.frames for request in requests]
        if requests[0].jpegs:
            jpegs = {f: j for r in requests for f, j in zip(r.frames, r.jpegs, strict=True)}
            decode_clips(jpegs, frames, video, clips)
        else:
            wanted = sorted({frame for of_clip in frames for frame in of_clip})
            read = self._frames().read(video, self._offsets(number), wanted)
            decode_clips(read, frames, video, clips)

    def _frames(self) -> FrameReader:
        """This thread's reader."""
        if not hasattr(self._of_thread, "frames"):
            self._of_thread.frames = FrameReader()
        reader: FrameReader = self._of_thread.frames
        return reader


def read_batches(
    reader: ClipReader,
    requests: Iterable[Sequence[ClipRequest]],
    workers: int = 0,
    pinned: bool = False,
) -> Generator[ClipBatch, None, None]:
    """Yield batches of clips in the order of `requests`, decoded ahead by `workers` threads (0: the
    cores divided by the number of ranks on this machine), the clips of a video together. All
    requests of a batch have the same number of frames. `pinned` uses page-locked memory, from which
    a GPU copies while it computes. Raises TrainerError for a batch that does not fit in memory, or
    for a frame that is no JPEG."""
    free: deque[torch.Tensor] = deque()
    latest: deque[int] = deque(maxlen=_LATEST)  # bytes of batches
    waiting: deque[tuple[torch.Tensor, ClipBatch, list[Future[None]]]] = deque()

    def start(batch: Sequence[ClipRequest]) -> None:
        sizes, length = tuple(map(reader.size, batch)), len(batch[0].frames)
        needed = bytes_of(sizes, length)
        latest.append(needed)
        buffer = free.popleft() if free else torch.empty(0)
        if not needed <= len(buffer) <= _SLACK * max(latest):
            _must_fit(needed, sizes, length)
            buffer = _new_buffer(needed if len(set(sizes)) == 1 else _ROOM * needed, pinned)
        clips = PackedClips(buffer, sizes, length)
        jobs = [
            pool.submit(
                reader.read, [batch[i] for i in numbers], [clips[i].numpy() for i in numbers]
            )
            for numbers in _by_video(batch)
        ]
        strides, videos = ([r.stride for r in batch], [r.video for r in batch])
        made = ClipBatch(clips, torch.tensor(strides), torch.tensor(videos))
        waiting.append((buffer, made, jobs))

    def finish() -> Iterator[ClipBatch]:
        buffer, batch, jobs = waiting.popleft()
        wait(jobs, return_when=FIRST_EXCEPTION)  # waiting for one by one would wake up for each
        for job in jobs:
            if job.done():
                job.result()
        yield batch
        free.append(buffer)

    with ThreadPoolExecutor(workers or max(1, usable_cores() // processes_here())) as pool:
        try:
            for batch in requests:
                start(batch)
                if len(waiting) == HELD:
                    yield from finish()
            while waiting:
                yield from finish()
        finally:
            for _, _, jobs in waiting:
                for job in jobs:
                    job.cancel()
            if isinstance(requests, Generator):
                requests.close()  # streamed requests hold threads and connections


def _by_video(batch: Sequence[ClipRequest]) -> list[list[int]]:
    """Positions of the requests in the batch, grouped by video."""
    numbers: dict[int, list[int]] = {}
    for number, request in enumerate(batch):
        numbers.setdefault(request.video, []).append(number)
    return list(numbers.values())


def _must_fit(needed: int, sizes: Sequence[Size], length: int) -> None:
    """Raises TrainerError if HELD batches of `needed` bytes exceed the memory of this machine or
    container."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = min(available, memory_limit() or available)
    if HELD * needed > available:
        height, width = max(sizes, key=prod)
        raise TrainerError(
            f"A batch of {len(sizes)} clips of {length} frames, the largest of {width} x {height} "
            f"pixels, takes {needed / 1e9:.0f} GB, and {HELD} are read at a time; this machine, or "
            f"the container, has {available / 1e9:.0f} GB. Build the videos with a smaller "
            "--short-side, or take fewer frames or a smaller batch."
        )


def _new_buffer(size: float, pinned: bool) -> torch.Tensor:
    """A flat uint8 buffer of `size` bytes."""
    if pinned:
        return torch.zeros(int(size), dtype=torch.uint8, pin_memory=True)
    # numpy asks for huge pages and torch does not: fewer page faults and TLB misses.
    return torch.from_numpy(np.zeros(int(size), np.uint8))
