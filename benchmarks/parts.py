"""Compare `ascnet near-duplicates --parts` with hashes of frames, on films with known shared parts
(benchmarks/planted.py).

    CLIPS=folder python -m benchmarks.parts WORK [--run RUN, or other options of `ascnet embed`]

CLIPS has a table MANIFEST.csv of its clips: file, subset, group (scene) and dur (seconds). Settings
were chosen on films of the subsets CHOSEN_ON; the figures are from films of all other subsets.

A planted part counts as found if the intersection over union with a found part is at least one half
in both videos. Everything else that is found is a false alarm. The common way to find copies is a
hash of every frame (dHash: 64 signs of differences of neighbouring pixels); here of 4 frames per
second, aligned as our clips are, with a threshold chosen on the same films.
"""

import csv
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.planted import Clip, SharedPart, make_films
from builder.decode.ffmpeg import find_ffmpeg
from builder.text_table import aligned
from evaluate.search.alignment import Rules, Sequenced, align

CHOSEN_ON = ("pushup_form", "arid", "weizmann64", "mhi_ps7")
SEEDS = (1, 2)  # each makes other films of the same clips
OVERLAP = 0.5  # intersection over union
HASHES = 4  # per second
HASH_RULES = Rules(1 / HASHES, threshold=0.43, shortest=2.0, level=0.25, drop=2.0)
Span = tuple[float, float]
Spans = Mapping[tuple[str, str], Sequence[tuple[Span, Span]]]  # by pair of videos, in seconds


@dataclass(frozen=True)
class Score:
    """Found parts compared with planted ones.

    Attributes:
        found: number of planted parts that were found
        missed: number of planted parts that were not, by their change
        alarms: number of found parts that were not planted
        unrelated_alarms: number of those in pairs of videos that share nothing
    """

    found: int
    missed: Counter[str]
    alarms: int
    unrelated_alarms: int

    @property
    def f1(self) -> float:
        return 2 * self.found / (2 * self.found + self.missed.total() + self.alarms)


def score(found: Spans, planted: Sequence[SharedPart]) -> Score:
    """Score found parts; each planted part counts at most once."""
    left = list(planted)
    related = related_by(planted)
    alarms = unrelated = 0
    for (first, second), spans in found.items():
        for one, other in spans:
            hit = next((p for p in left if _is_hit({first: one, second: other}, p)), None)
            if hit is not None:
                left.remove(hit)
                continue
            alarms += 1
            unrelated += frozenset((first, second)) not in related
    return Score(len(planted) - len(left), Counter(part.change for part in left), alarms, unrelated)


def related_by(planted: Sequence[SharedPart]) -> set[frozenset[str]]:
    """Pairs of films that share a part."""
    return {frozenset((part.video, part.other)) for part in planted}


def together(scores: Sequence[Score]) -> Score:
    """The score of several sets of films."""
    return Score(
        sum(one.found for one in scores),
        sum((one.missed for one in scores), Counter()),
        sum(one.alarms for one in scores),
        sum(one.unrelated_alarms for one in scores),
    )


def _is_hit(spans: Mapping[str, Span], part: SharedPart) -> bool:
    if spans.keys() != {part.video, part.other}:
        return False
    first, second = (part.begin, part.end), (part.other_begin, part.other_end)
    return min(overlap(spans[part.video], first), overlap(spans[part.other], second)) >= OVERLAP


def overlap(one: Span, other: Span) -> float:
    """Intersection over union."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(0.0, common / (max(one[1], other[1]) - min(one[0], other[0])))


def by_ours(store: Path, *options: str) -> Spans:
    """Parts found by the command, read from its table."""
    table = store.with_suffix(".csv")
    ascnet("near-duplicates", store, "--parts", "--csv", table, "--show", 0, *options)
    found = defaultdict(list)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            spans = _seconds(row["first_time"]), _seconds(row["second_time"])
            found[row["first"], row["second"]].append(spans)
    return found


def _seconds(times: str) -> Span:
    begin, end = (code.split(":") for code in times.split("-"))
    return 60 * int(begin[0]) + float(begin[1]), 60 * int(end[0]) + float(end[1])


def by_hashes(folder: Path, rules: Rules = HASH_RULES) -> Spans:
    """Parts found by hashes of frames, aligned as features: the cosine of two vectors of signs is
    1 - 2 x the share of signs that differ."""
    hashes = {path.name: hashes_of(path) for path in sorted(folder.glob("*.mp4"))}
    found = defaultdict(list)
    for first, second in combinations(hashes, 2):
        for run in align(hashes[first], hashes[second], rules):
            spans = (span[0] / HASHES for span in (run.first, run.second))
            ends = ((span[1] + 1) / HASHES for span in (run.first, run.second))
            one, other = zip(spans, ends, strict=True)
            found[first, second].append((one, other))
    return found


def hashes_of(video: Path) -> Sequenced:
    """The dHash of HASHES frames per second, as rows of unit length (float32, N x 64)."""
    pixels = f"fps={HASHES},scale=9:8:flags=area,format=gray"
    words = ["-v", "error", "-i", str(video), "-vf", pixels, "-f", "rawvideo", "-"]
    done = subprocess.run(
        [find_ffmpeg(), *words], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 8, 9).astype(np.int16)
    signs = np.where(np.diff(frames, axis=2) > 0, 1, -1).reshape(len(frames), 64)
    rows = torch.from_numpy(signs / np.sqrt(64)).float()
    return Sequenced(rows, np.arange(len(rows)) / HASHES)


def ascnet(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "ascnet", *map(str, words)], check=True)


def scenes_of(clips: Path, *, chosen_on: bool) -> list[list[Clip]]:
    """The clips of every scene, either of the subsets that settings were chosen on, or of the
    others."""
    scenes: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    with (clips / "MANIFEST.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["dur"] and (row["subset"] in CHOSEN_ON) == chosen_on:
                clip = Clip(clips / row["file"], float(row["dur"]))
                scenes[row["subset"], row["group"]].append(clip)
    return [scene for _, scene in sorted(scenes.items())]


def bench_parts(clips: Path, work: Path, options: Sequence[str]) -> None:
    scenes = scenes_of(clips, chosen_on=False)
    scores: dict[str, list[Score]] = {"ours": [], "hashes of frames": []}
    made = pairs = 0
    for seed in SEEDS:
        films, store = work / f"films{seed}", work / f"films{seed}.h5"
        planted = make_films(scenes, films, seed)
        ascnet("embed", films, "--every", 0.5, "--out", store, *options)
        for name, found in (("ours", by_ours(store)), ("hashes of frames", by_hashes(films))):
            scores[name].append(score(found, planted))
        count = len(list(films.glob("*.mp4")))
        made += count
        pairs += count * (count - 1) // 2 - len(related_by(planted))
    rows = [[f"{made} films", "F1", "found", "false alarms", "of unrelated pairs", "missed"]]
    for name, of_seeds in scores.items():
        one = together(of_seeds)
        missed = ", ".join(f"{count} {change}" for change, count in one.missed.most_common())
        alarms = [str(one.alarms), f"{one.unrelated_alarms} in {pairs} pairs"]
        share = f"{one.found} of {one.found + one.missed.total()}"
        rows.append([name, f"{one.f1:.3f}", share, *alarms, missed])
    print("\n".join(aligned(rows)))


if __name__ == "__main__":
    bench_parts(Path(os.environ["CLIPS"]).resolve(), Path(sys.argv[1]), sys.argv[2:])
