"""Ways to load samples, each two clips of a video as uint8 arrays. See loading.py."""

import io
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from unittest.mock import patch

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image

from benchmarks.decoders import Library, Pair, difference
from benchmarks.side_by_side import Measured, measure
from builder.shards.dataset import Video, read_frames, read_offsets
from trainer.data.clip_reader import HELD, ClipReader, read_batches
from trainer.data.clip_sampler import ClipRequest

BATCH = 32  # samples; no more than there are videos, as a video occurs in a batch only once
START = 6  # batches to skip, until `read_batches` has used all its buffers
_WRONG = 8.0  # of 255; clips that differ more do not show the same frames


def in_threads(work: Callable[[Sequence[Any]], None], items: Sequence[Any], threads: int) -> int:
    if threads == 1:
        work(items)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [items[i::threads] for i in range(threads)]))
    return len(items)


class Ours:
    """Our loader, timed between two batches while more are being read, as in training."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._reader = ClipReader(videos)
        self.batch = min(BATCH, len(videos))

    def run(self, samples: Iterable[Pair], threads: int, count: int) -> Measured:
        """Measure `count` samples after the first `START` batches, which are not timed; `samples`
        must hold as many batches again after them."""
        batches = read_batches(self._reader, self._requests(samples), threads)
        for _ in islice(batches, START):
            pass
        timed = islice(batches, count // self.batch)
        run = measure(lambda: sum(len(batch.videos) // 2 for batch in timed))
        batches.close()
        return run

    def run_without_decoding(self, samples: Iterable[Pair], threads: int, count: int) -> Measured:
        """As `run`, with a decoder that does nothing: what remains is reading, and Python code,
        which runs on one core at a time."""
        with patch.object(simplejpeg, "decode_jpeg", lambda *arguments: arguments[-1]):
            return self.run(samples, threads, count)

    def _requests(self, samples: Iterable[Pair]) -> Iterator[list[ClipRequest]]:
        remaining = iter(samples)
        while group := list(islice(remaining, self.batch)):
            yield [a for a, _ in group] + [b for _, b in group]


class Floor:
    """A lower bound: the same JPEGs, already in memory, decoded by the same decoder; a frame in
    both clips of a sample is decoded once. Every sample overwrites the one before it, so it stays
    in the processor's cache; `run_into_batches` writes as many as our loader holds, which is a
    lower bound for loaders that yield batches."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._sizes = [(v.height, v.width) for v in videos]
        self._jpegs = [read_frames(v, read_offsets(v), range(v.frames)) for v in videos]

    def run(self, samples: Sequence[Pair], threads: int) -> Measured:
        return self._run(samples, threads, threads)

    def run_into_batches(self, samples: Sequence[Pair], threads: int) -> Measured:
        return self._run(samples, threads, HELD * min(BATCH, len(self._sizes)))

    def _run(self, samples: Sequence[Pair], threads: int, held: int) -> Measured:
        """Decode into `held` buffers, which have been written before."""
        length = len(samples[0][0].frames)
        room = 2 * length * max(height * width * 3 for height, width in self._sizes)
        of_threads: SimpleQueue[list[np.ndarray]] = SimpleQueue()
        for _ in range(threads):
            of_threads.put([np.ones(room, np.uint8) for _ in range(max(1, held // threads))])

        def decode(part: Sequence[Pair]) -> None:
            self._decode(part, of_threads.get())

        return measure(lambda: in_threads(decode, samples, threads))

    def _decode(self, samples: Sequence[Pair], buffers: Sequence[np.ndarray]) -> None:
        length = len(samples[0][0].frames)
        for pair, buffer in zip(samples, cycle(buffers), strict=False):
            jpegs, size = self._jpegs[pair[0].video], self._sizes[pair[0].video]
            shape = (2, length, *size, 3)
            clips = buffer[: prod(shape)].reshape(shape)
            decoded: dict[int, np.ndarray] = {}
            for request, clip in zip(pair, clips, strict=True):
                for frame, picture in zip(request.frames, clip, strict=True):
                    if frame in decoded:
                        picture[:] = decoded[frame]
                        continue
                    simplejpeg.decode_jpeg(
                        jpegs[frame], fastdct=True, fastupsample=True, buffer=picture
                    )
                    decoded[frame] = picture


class Webdataset:
    """Stock webdataset on the same JPEGs, one tar member per frame, in two shards, unshuffled."""

    def __init__(self, videos: Sequence[Video], folder: Path) -> None:
        folder.mkdir()
        self._videos = videos
        self._shards = [str(folder / f"{i}.tar") for i in range(2)]
        for i, path in enumerate(self._shards):
            with tarfile.TarFile(path, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number in range(i, len(videos), 2):
                    _pack(tar, number, videos[number])

    def run(self, samples: Sequence[Pair], processes: int) -> int:
        """Load `samples`, which must be whole passes over the videos."""
        passes = len(samples) // len(self._videos)
        pairs = [samples[i :: len(self._videos)] for i in range(len(self._videos))]
        dataset = webdataset.WebDataset(
            self._shards * passes, shardshuffle=False, empty_check=False
        ).map(_Decoder(pairs))
        if processes > 1:
            dataset = webdataset.WebLoader(
                dataset, batch_size=None, num_workers=processes, multiprocessing_context="fork"
            )
        return sum(1 for _ in dataset)


def _pack(tar: tarfile.TarFile, number: int, video: Video) -> None:
    for i, jpeg in enumerate(read_frames(video, read_offsets(video), range(video.frames))):
        member = tarfile.TarInfo(f"{number:09d}.{i:04d}.jpg")
        member.size = len(jpeg)
        tar.addfile(member, io.BytesIO(jpeg))


class _Decoder:
    """Decodes the clips of a sample that webdataset has read: those of its video's next pass."""

    def __init__(self, pairs: Sequence[Sequence[Pair]]) -> None:
        self._pairs, self._seen = pairs, Counter[int]()

    def __call__(self, sample: dict[str, Any]) -> np.ndarray:
        video = int(sample["__key__"])
        pair = self._pairs[video][self._seen[video]]
        self._seen[video] += 1
        jpegs = {f: sample[f"{f:04d}.jpg"] for f in {f for clip in pair for f in clip.frames}}
        pictures = {f: np.asarray(Image.open(io.BytesIO(jpeg))) for f, jpeg in jpegs.items()}
        return np.stack([np.stack([pictures[f] for f in clip.frames]) for clip in pair])


@dataclass(frozen=True)
class OnTheFly:
    """Decoding of the original files by a library, as a map-style data set for torch's
    DataLoader."""

    library: Library
    videos: Sequence[Video]
    sources: Path  # the folder of the original files
    samples: Sequence[Pair] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.decode(self.samples[i])

    def decode(self, pair: Pair) -> np.ndarray:
        video = self.videos[pair[0].video]
        return self.library.decode(self.sources / video.name, (video.height, video.width), pair)

    def wrong(self, samples: Sequence[Pair]) -> int:
        """Number of samples that show other frames than ours."""
        reader = ClipReader(self.videos)
        count, length = 0, len(samples[0][0].frames)
        for pair in samples:
            ours = np.empty((2, length, *reader.size(pair[0]), 3), np.uint8)
            reader.read(pair, ours)
            count += difference(self.decode(pair), ours) > _WRONG
        return count

    def by_threads(self, samples: Sequence[Pair], threads: int) -> int:
        def work(pairs: Sequence[Pair]) -> None:
            for pair in pairs:
                self.decode(pair)

        return in_threads(work, samples, threads)

    def by_processes(self, samples: Sequence[Pair], processes: int) -> int:
        dataset = OnTheFly(self.library, self.videos, self.sources, samples)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=processes, multiprocessing_context="fork"
        )
        return sum(1 for _ in loader)
