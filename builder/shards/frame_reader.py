"""Read frames of a video from its shard into a reused buffer, without copies."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from builder.shards.dataset import Video, must_be_whole

_NEAR = 64  # frames; a gap up to this is read along, rather than skipped by a second read
_KEPT = 8 << 20  # bytes; a larger buffer, which only odd videos need, is not kept


class FrameReader:
    """Reads frames into a buffer that it reuses. Not thread-safe: use one per thread."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray(1 << 18))

    def read(
        self, video: Video, offsets: np.ndarray, frames: Sequence[int]
    ) -> dict[int, memoryview]:
        """Read the JPEGs of the given frames (rising numbers): {number: bytes}, valid until the
        next call. `offsets` are those of `read_offsets`. Frames close to each other share a read.
        Raises BuilderError if the shard ends too early."""
        starts, ends = offsets[frames].tolist(), offsets[np.add(frames, 1)].tolist()
        spans = [(a, b, starts[a], ends[b - 1]) for a, b in _runs(frames)]
        memory = self._room(sum(end - start for _, _, start, end in spans))
        jpegs, used = {}, 0
        file = os.open(video.shard, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for a, b, start, end in spans:
                view = memory[used : used + end - start]
                got = os.preadv(file, [view], video.location.blob_start + start)
                must_be_whole(video, got, end - start)
                for i in range(a, b):
                    jpegs[frames[i]] = view[starts[i] - start : ends[i] - start]
                used += end - start
        finally:
            os.close(file)
        return jpegs

    def _room(self, size: int) -> memoryview:
        if size <= len(self._memory):
            return self._memory
        memory = memoryview(bytearray(size))
        if size <= _KEPT:
            self._memory = memory
        return memory


def _runs(frames: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of frames that lie close to each other, as (start, end) positions in `frames`."""
    first = 0
    for i in range(1, len(frames)):
        if frames[i] - frames[i - 1] > _NEAR:
            yield first, i
            first = i
    yield first, len(frames)
