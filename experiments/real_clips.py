"""Build the shards of real clips that real.toml and its kin train and test on:

python -m experiments.real_clips CLIPS

CLIPS: a folder of video files with a MANIFEST.csv: file (path in the folder), subset (which set a
clip is from), cls (its class), group (its source: a sequence, person, scene or session).

shards/real          all clips without labels, for training
shards/real_10, _30  10 and 30 % of them, whole groups, each within the next
shards/<set>         one test set each, labelled, groups as in the manifest; settings are chosen on
                     skateboard_others, and on arid's split, whose test part is every second group
"""

import csv
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from builder.atomic import write_atomically
from builder.shards.manifest import DATASET_FILE

Clip = Mapping[str, str]  # a row of the manifest
SHARES = {"real_10": 10, "real_30": 30, "real": 100}  # percent of all clips
TEST_SETS = (
    "arid",
    "ut_interaction",
    "weizmann64",
    "fight_surv",
    "skateboard_court",
    "skateboard_others",
)
COURT = "autumn_court"  # the one of skateboard's sessions with both classes in balance


def share_of(clips: Sequence[Clip], percent: float) -> list[Clip]:
    """A fixed choice of whole groups of every subset, with about `percent` of its clips. A larger
    share has all of a smaller one."""
    chosen: list[Clip] = []
    for subset in dict.fromkeys(clip["subset"] for clip in clips):
        own = [clip for clip in clips if clip["subset"] == subset]
        groups = sorted({clip["group"] for clip in own}, key=lambda group: _shuffled(subset, group))
        wanted, taken = len(own) * percent / 100, 0
        for group in groups:
            members = [clip for clip in own if clip["group"] == group]
            if taken + len(members) / 2 > wanted:  # without it, it is nearer to what is wanted
                break
            chosen += members
            taken += len(members)
    return chosen


def _shuffled(*names: str) -> str:
    return sha256("/".join(names).encode()).hexdigest()


def clips_of_test_set(name: str, clips: Sequence[Clip]) -> list[Clip]:
    """The clips of a test set: of fight_surv those of scenes with both classes; of skateboard one
    session, in which every clip is a group of its own, or all other sessions."""
    if name.startswith("skateboard"):
        tricks = [clip for clip in clips if clip["subset"] == "skateboard"]
        if name == "skateboard_others":
            return [clip for clip in tricks if clip["group"] != COURT]
        return [{**clip, "group": clip["file"]} for clip in tricks if clip["group"] == COURT]
    own = [clip for clip in clips if clip["subset"] == name]
    if name == "fight_surv":
        classes = {g: {c["cls"] for c in own if c["group"] == g} for g in {c["group"] for c in own}}
        return [clip for clip in own if len(classes[clip["group"]]) == 2]
    return own


def build(name: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Build `shards/<name>` of a list of videos, which lies beside it, unless it is there, or the
    list is empty."""
    if not rows or (Path("shards") / name / DATASET_FILE).is_file():
        return
    source, text = Path("shards") / f"{name}.csv", io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    source.parent.mkdir(exist_ok=True)
    write_atomically(source, text.getvalue())
    command = [sys.executable, "-m", "ascnet", "build", "csv", "--source", str(source)]
    if status := subprocess.run([*command, "--name", name], check=False).returncode:
        sys.exit(status)  # the build has said what is wrong


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or not (folder := Path(arguments[0])).joinpath("MANIFEST.csv").is_file():
        sys.exit("Say: python -m experiments.real_clips CLIPS, a folder with a MANIFEST.csv")
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        clips = list(csv.DictReader(file))
    path = {clip["file"]: str((folder / clip["file"]).resolve()) for clip in clips}
    for name, percent in SHARES.items():
        group = {clip["file"]: f"{clip['subset']}/{clip['group']}" for clip in clips}
        share = [clip["file"] for clip in share_of(clips, percent)]
        build(name, [{"path": path[f], "group": group[f], "split": "train"} for f in share])
    for name in TEST_SETS:
        tested = clips_of_test_set(name, clips)
        groups = sorted({clip["group"] for clip in tested})
        rows = [
            {"path": path[clip["file"]], "label": clip["cls"], "group": clip["group"]}
            for clip in tested
        ]
        if name == "arid":
            parts = ("train", "test")
            rows = [row | {"split": parts[groups.index(row["group"]) % 2]} for row in rows]
        build(name, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
