"""How many copies `ascnet near-duplicates` finds, by what was done to them:

    CLIPS=folder python -m benchmarks.copies WORK [--run RUN, or other options of `ascnet embed`]

CLIPS has a table MANIFEST.csv of its clips: file, subset, group (scene) and dur (seconds). A copy
of each kind is made of COPIED clips of as many scenes, and put among OTHERS clips of other scenes.
A copy counts as found if its pair with the original has a score of the threshold or more. Mirrored
and turned copies are looked for in stores of `--mirrored` and `--turned`, too.
"""

import csv
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from builder.decode.ffmpeg import find_ffmpeg
from builder.text_table import markdown
from evaluate.features.store import Features
from evaluate.search.duplicates import find_pairs
from evaluate.search.search import centre_of

COPIED, OTHERS = 36, 300
SHORTEST, LONGEST = 1.5, 14.0  # seconds of what is copied
THRESHOLDS = (0.95, 0.90)
KINDS: Mapping[str, str] = {
    "encoded again, half the size, `-crf 36`": "-vf scale=trunc(iw/4)*2:trunc(ih/4)*2 -crf 36",
    "without colour": "-vf hue=s=0",
    "the middle 30 %": "-ss {third} -t {part}",
    "1.25 times as fast": "-vf setpts=PTS/1.25",
    "15 frames a second": "-r 15",
    "trimmed to 80 %": "-ss {tenth} -t {most}",
    "a box of a quarter of the width drawn in": "-vf drawbox=8:8:iw/4:ih/6:white:fill",
    "cropped to 90 %": "-vf crop=iw*0.9:ih*0.9",
    "brighter, more contrast": "-vf eq=brightness=0.15:contrast=1.4",
    "mirrored": "-vf hflip",
    "a quarter turn": "-vf transpose=1",
}
STORES: Mapping[str, Sequence[str]] = {
    "": list(KINDS),
    "--mirrored": ["mirrored"],
    "--turned": ["a quarter turn"],
}


def clips_of(folder: Path) -> tuple[list[tuple[Path, float]], list[Path]]:
    """The clips that are copied, with their seconds, and others of other scenes; a fixed choice."""
    with (folder / "MANIFEST.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dur"]]
    rows.sort(key=lambda row: sha256(row["file"].encode()).hexdigest())
    copied: dict[tuple[str, str], tuple[Path, float]] = {}
    others = []
    for row in rows:
        scene, path, length = (row["subset"], row["group"]), folder / row["file"], float(row["dur"])
        if scene not in copied and len(copied) < COPIED and SHORTEST <= length <= LONGEST:
            copied[scene] = path, length
        elif scene not in copied and len(others) < OTHERS:
            others.append((scene, path))
    return list(copied.values()), [path for scene, path in others if scene not in copied]


def make_copy(original: Path, length: float, kind: str, target: Path) -> None:
    """Make an altered copy of a clip of `length` seconds, unless it is there."""
    if target.is_file():
        return
    shares = {"third": 0.35, "part": 0.3, "tenth": 0.1, "most": 0.8}
    words = KINDS[kind].format(**{name: f"{share * length:.2f}" for name, share in shares.items()})
    command = [find_ffmpeg(), "-v", "error", "-y", "-i", str(original), "-an", *words.split()]
    partial = target.with_suffix(".partial.mp4")
    subprocess.run([*command, str(partial)], check=True, stdin=subprocess.DEVNULL)
    partial.rename(target)


def make_folder(clips: Path, work: Path, kinds: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Links to the clips and copies of some kinds in `work`. Returns, for each kind, pairs of names
    in a store: original and copy."""
    copied, others = clips_of(clips)
    work.mkdir(parents=True, exist_ok=True)
    pairs: dict[str, list[tuple[str, str]]] = {kind: [] for kind in kinds}
    for number, (path, length) in enumerate(copied):
        name = _link(path, work / f"original{number:03d}{path.suffix}")
        for kind in kinds:
            copy = work / f"copy{number:03d}-{list(KINDS).index(kind)}.mp4"
            make_copy(path, length, kind, copy)
            pairs[kind].append((name, copy.name))
    for number, path in enumerate(others):
        _link(path, work / f"other{number:03d}{path.suffix}")
    return pairs


def _link(path: Path, link: Path) -> str:
    if not link.exists():
        link.symlink_to(path)
    return link.name


def scores_of(store: Path) -> dict[tuple[str, str], float]:
    """The scores of all pairs of a store down to 0.5, by names in both orders."""
    features = Features(store)
    scores = {}
    for pair in find_pairs(features, 0.5, centre_of(features)):
        names = features.names[pair.first], features.names[pair.second]
        scores[names] = scores[names[::-1]] = pair.score
    return scores


def bench_copies(clips: Path, work: Path, options: Sequence[str]) -> None:
    rows = [["copy", "median score", *(f"found at {level:.2f}" for level in THRESHOLDS)]]
    for store_option, kinds in STORES.items():
        folder = work / f"videos{store_option}"
        pairs = make_folder(clips, folder, kinds)
        store = work / f"copies{store_option}.h5"
        words = [str(folder), "--out", str(store), *options, *store_option.split()]
        subprocess.run([sys.executable, "-m", "ascnet", "embed", *words], check=True)
        scores = scores_of(store)
        for kind, of_kind in pairs.items():
            # A video that could not be embedded, or a pair below 0.5, is not found.
            own = [scores.get(pair, 0.0) for pair in of_kind]
            title = f"{kind}, store of `{store_option}`" if store_option else kind
            found = [f"{sum(s >= level for s in own)} of {len(own)}" for level in THRESHOLDS]
            rows.append([title, f"{statistics.median(own):.3f}", *found])
        unrelated = [s for (a, b), s in scores.items() if a < b and a[:5] == b[:5] == "other"]
        counts = [f"{sum(s >= level for s in unrelated)} pairs" for level in THRESHOLDS]
        rows.append(
            [f"*others among each other{', ' * bool(store_option)}{store_option}*", "", *counts]
        )
    print(markdown(rows))


if __name__ == "__main__":
    bench_copies(Path(os.environ["CLIPS"]).resolve(), Path(sys.argv[1]), sys.argv[2:])
