"""A store that grows, beside one that is built anew.

    CLIPS=folder python -m benchmarks.growing WORK [--run RUN, or what else `ascnet embed` takes]

All videos of the folder are embedded in one go, then ADDED of them are removed and added again. The
store has to be what it was, bit for bit. With KILLS=20 they are added again, each time from the
store without them, killed at a random moment of the work and given once more, until so many kills
have come before the end. Meanwhile there has to be a store that can be read, and in the end the
same one as before.

CPU seconds are those of all processes, start-up included; on a machine that does other work as well
they say more than the clock.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ascnet.growing import growing_of, shards_of
from builder.text_table import aligned
from evaluate.features.store import Features

ADDED, SEED = 10, 0


@dataclass(frozen=True)
class Took:
    """What a command took.

    Attributes:
        seconds: by the clock
        cpu: seconds of all cores
        work: seconds by the clock from when new shards were begun; 0 if none were
    """

    seconds: float
    cpu: float
    work: float


def start(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "ascnet", *map(str, words)])


def wait_for_work(process: subprocess.Popen[bytes], store: Path) -> None:
    """Until new shards are begun, or the process has ended."""
    while process.poll() is None and not growing_of(store).is_dir():
        time.sleep(0.005)


def timed(store: Path, *words: object) -> Took:
    """`ascnet embed` of a store, to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = start("embed", *words, "--out", store)
    wait_for_work(process, store)
    work = time.monotonic()
    if status := process.wait():
        sys.exit(status)
    end, after = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(end - began, cpu, end - work)


def content(store: Path) -> dict[str, str]:
    """SHA-256 of all that is of a store, but of when its videos' files were changed."""
    files = sorted(path for path in shards_of(store).iterdir() if path.name != "sources.json")
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in files}
    features = Features(store)
    clips = sha256(features.clip_features.tobytes()).hexdigest()
    return digests | {"videos": features.checksum, "clips": clips}


def copy_store(store: Path, target: Path) -> None:
    """With its shards, and in the place of what is there."""
    for shards in (shards_of(target), growing_of(target)):
        shutil.rmtree(shards, ignore_errors=True)
    shutil.copytree(shards_of(store), shards_of(target))
    shutil.copy2(store, target)


def kill_once(store: Path, seconds: float, words: Sequence[object]) -> bool:
    """Kill `ascnet embed` so long after its work has begun; False if it had ended before."""
    process = start("embed", *words, "--out", store)
    wait_for_work(process, store)
    time.sleep(seconds)
    process.kill()
    return process.wait() < 0


def bench_growing(
    clips: Path, work: Path, options: Sequence[str], added: int = ADDED, kills: int = 0
) -> None:
    store, smaller = work / "growing.h5", work / "smaller.h5"
    if store.exists():
        sys.exit(f"{store} is there already: name another folder, or empty this one.")
    draw = random.Random(SEED)
    everything = timed(store, clips, *options)
    whole, names = content(store), Features(store).names
    some = draw.sample(names, added)
    less = timed(store, "--remove", *some, *options)
    copy_store(store, smaller)
    adding = ("--add", *(clips / name for name in some), *options)
    more = timed(store, *adding)
    _must_be(whole, store)
    took = {"building all": everything, f"removing {added}": less, f"adding {added}": more}
    rows = [
        [f"of {len(names)} videos", "seconds", "CPU seconds", "of building all", "by the clock"]
    ]
    for name, one in took.items():
        shares = one.cpu / everything.cpu, one.seconds / everything.seconds
        rows.append([name, f"{one.seconds:.1f}", f"{one.cpu:.1f}", *(f"{s:.1%}" for s in shares)])
    print("\n".join(aligned(rows)), flush=True)
    killed, tries, span = 0, 0, more.work
    while killed < kills:
        copy_store(smaller, store)
        tries += 1
        killed += kill_once(store, draw.uniform(0, span), adding)
        if len(Features(store).names) not in (len(names) - added, len(names)):
            sys.exit(f"After a kill, {store} is neither the store that was nor the one to be.")
        span = min(span, timed(store, *adding).work or span)
        _must_be(whole, store)
    if kills:
        print(f"{killed} killed while they were added, of {tries} tries; all {tries} stores equal")


def _must_be(whole: dict[str, str], store: Path) -> None:
    now = content(store)
    if other := [name for name in whole | now if whole.get(name) != now.get(name)]:
        sys.exit(f"{store} is not what it was: {', '.join(other)}")


if __name__ == "__main__":
    kills = int(os.environ.get("KILLS", "0"))
    bench_growing(Path(os.environ["CLIPS"]).resolve(), Path(sys.argv[1]), sys.argv[2:], kills=kills)
