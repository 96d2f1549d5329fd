"""Compare loading with a lower bound ("floor"), stock webdataset, and decoding on the fly.

A sample is what a training step uses of a video: two clips of 16 frames, one at stride 1 and one at
stride 2, as uint8 arrays of whole frames with short side 128. The clips are the same for every way;
our loader draws them while loading, as in training, and for the others they are drawn beforehand.
Each way is measured over as many passes through the videos as take a few seconds, on one core and
on two (two threads or two processes).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch

from benchmarks.decoders import LIBRARIES, Pair
from benchmarks.loading_ways import START, Floor, OnTheFly, Ours, Webdataset
from benchmarks.side_by_side import Measured, Runs, alternate, cores, measure, rate, ratio
from builder.shards.dataset import ShardDataset, Video
from trainer.data.clip_sampler import Pairs, Timing, draw_pair

PAIRS = Pairs(length=16, strides=(1, 2), replacement=False, policy="loop", seed=0)
FREE = "ours with a decoder that costs nothing, 2 cores"
Load = Callable[[Sequence[Pair], int], int | Measured]  # samples, threads or processes


@dataclass(frozen=True)
class Block:
    """Videos that are measured together."""

    title: str
    videos: tuple[Video, ...]
    goal: float | None  # speed relative to decoding on the fly

    def draw(self, count: int) -> Iterator[Pair]:
        """Yield samples as training may draw them; sample i is of video i % n."""
        n = len(self.videos)
        return (draw_pair(i, i % n, Timing(self.videos[i % n].frames), PAIRS) for i in range(count))

    def samples(self, count: int) -> list[Pair]:
        return list(self.draw(count))

    def passes(self, seconds: float, per_second: float) -> list[Pair]:
        """Samples of as many passes over the videos as take about `seconds`."""
        passes = max(1, round(seconds * per_second / len(self.videos)))
        return self.samples(passes * len(self.videos))


def blocks_of(dataset: ShardDataset) -> list[Block]:
    """Blocks of the videos of UCF-101 or HMDB-51 and of those of Kinetics, by the names of their
    folders, and of all together; in random order, as in training."""
    videos = Random(0).sample(dataset.videos, len(dataset.videos))

    def below(*names: str) -> tuple[Video, ...]:
        folders = [(v, v.name.rpartition("/")[0].lower()) for v in videos]
        return tuple(v for v, folder in folders if any(name in folder for name in names))

    blocks = [
        Block("UCF-101 and HMDB-51 (MPEG-4 of 320 x 240)", below("ucf", "hmdb"), 4.0),
        Block("like Kinetics (H.264 of 340 x 256 or so)", below("kinetics", "k400"), 30.0),
        Block("all", tuple(videos), None),
    ]
    return [block for block in blocks if block.videos]


def on(count: int, load: Load, samples: Sequence[Pair]) -> int | Measured:
    """Load the samples on `count` cores."""
    with cores(count):
        return load(samples, count)


class Ways:
    """The ways to load a block, each with its samples for one core and for two."""

    def __init__(self, block: Block, seconds: float) -> None:
        self.block, self.seconds = block, seconds
        self.ways: dict[str, Callable[[], int | Measured]] = {}

    def add(self, name: str, one: Load, **two: Load) -> None:
        """Add a way. `two` holds its variants for two cores, of which the fastest is measured."""
        first = self.block.samples(len(self.block.videos))
        per_second = measure(partial(on, 1, one, first)).rate  # a warm-up, too
        for_one = self.block.passes(self.seconds, per_second)
        for_two = self.block.passes(self.seconds, 2 * per_second)
        rates = {how: measure(partial(on, 2, two[how], for_two)).rate for how in two}
        fastest = max(rates, key=lambda how: rates[how])
        print(f"  {name}, 2 cores: by two {fastest}")
        self.ways[f"{name}, 1 core"] = partial(on, 1, one, for_one)
        self.ways[f"{name}, 2 cores"] = partial(on, 2, two[fastest], for_two)

    def add_ours(self, ours: Ours, floor: Floor) -> None:
        """Add our loader and the lower bound, which are compared most closely and so load the same
        samples."""
        few = 10 * ours.batch
        per_second = measure(
            partial(on, 2, self._timed(ours.run, few, START * ours.batch), ())
        ).rate
        count = max(few, round(self.seconds * per_second / ours.batch) * ours.batch)
        before = START * ours.batch
        samples = self.block.samples(before + count)[before:]
        free = self._timed(ours.run_without_decoding, 10 * count, before)
        for cores_of, words in ((1, "1 core"), (2, "2 cores")):
            self.ways[f"ours, {words}"] = partial(
                on, cores_of, self._timed(ours.run, count, before), ()
            )
            self.ways[f"floor, {words}"] = partial(on, cores_of, floor.run, samples)
            into = floor.run_into_batches
            self.ways[f"floor, into batches, {words}"] = partial(on, cores_of, into, samples)
        self.ways[FREE] = partial(on, 2, free, ())

    def _timed(
        self, run: Callable[[Iterable[Pair], int, int], Measured], count: int, around: int
    ) -> Load:
        """A way that loads `count` samples, with `around` more before and after them. Clips are
        drawn when they are needed, as in training."""
        return lambda _, threads: run(self.block.draw(count + 2 * around), threads, count)


def bench_loading(
    dataset: ShardDataset, sources: Path, work: Path, rounds: int, seconds: float
) -> None:
    """Run and print the comparison. `sources` is the folder of the original files, `work` an empty
    folder."""
    for library in LIBRARIES:
        if library.module is None:
            print(
                f"Decoding on the fly by {library.name} is not measured: pip install {library.pip}"
            )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two cores are used by decoding two samples at a time
    for i, block in enumerate(blocks_of(dataset)):
        ways = Ways(block, seconds)
        ways.add_ours(Ours(block.videos), Floor(block.videos))
        stock = Webdataset(block.videos, work / str(i))
        ways.add("webdataset", stock.run, processes=stock.run)
        checked = block.samples(len(block.videos))
        for library in LIBRARIES:
            if library.module:
                fly = OnTheFly(library, block.videos, sources)
                if wrong := fly.wrong(checked):
                    print(f"{library.name}: {wrong} of {len(checked)} samples are of other frames")
                ways.add(
                    library.name,
                    fly.by_threads,
                    threads=fly.by_threads,
                    processes=fly.by_processes,
                )
        report(block, alternate(ways.ways, rounds), rounds)
    torch.set_num_threads(threads)


def report(block: Block, runs: dict[str, Runs], rounds: int) -> None:
    print(
        f"Loading, {len(block.videos)} videos: {block.title}; two-clip samples/s, "
        f"medians of {rounds} rounds"
    )
    for name, measured in runs.items():
        r = rate(measured)
        print(f"  {name:<58} {r.median:8.1f} samples/s ({r.low:.1f} .. {r.high:.1f})")

    def compare(words: str, measured: str, base: str, goal: float | None) -> None:
        r = ratio(runs[measured], runs[base])
        text = f"  {words:<58} x {r.median:6.2f} ({r.low:.2f} .. {r.high:.2f})"
        print(f"{text}, goal {goal:g}" if goal else text)

    compare("ours against the floor, 1 core", "ours, 1 core", "floor, 1 core", 0.95)
    compare("ours against the floor, 2 cores", "ours, 2 cores", "floor, 2 cores", 0.9)
    for words in ("1 core", "2 cores"):
        floor = f"floor, into batches, {words}"
        compare(f"ours against the {floor}", f"ours, {words}", floor, None)
    compare("ours, 2 cores against 1", "ours, 2 cores", "ours, 1 core", 1.9)
    compare("the floor, 2 cores against 1", "floor, 2 cores", "floor, 1 core", None)
    compare(
        "cores at which Python is the limit: costs nothing / 1 core", FREE, "ours, 1 core", None
    )
    names = [library.name for library in LIBRARIES if library.module]
    for words in ("1 core", "2 cores"):
        compare(f"ours against webdataset, {words}", f"ours, {words}", f"webdataset, {words}", None)
        if names:
            best = max(names, key=lambda name: rate(runs[f"{name}, {words}"]).median)
            compare(
                f"ours against the best on the fly ({best}), {words}",
                f"ours, {words}",
                f"{best}, {words}",
                block.goal,
            )
