"""`make drills`: disturb every long command, and count what is lost or wrong.

    python -m tests.drills.run_all [--tries 10] [--seed 0] [--steps 5000] [--only NAME] [--out PAGE]

Prints a table with a row for each drill, and writes it to a page. Some drills need root: full and
read-only disks, exFAT, a small /dev/shm.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.drills import page
from tests.drills.outcome import Outcome, failed, notes, table
from tests.drills.plan import Drill, drills_of, rng_of
from tests.drills.scene import set_up
from trainer.run.provenance import code


def outcomes(drills: Iterable[Drill], seed: int, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Run the drills, one after the other; with `only`, those whose names contain one of these
    words. A drill that ends with an exception counts as wrong, and the next one follows."""
    for drill in drills:
        if not only or any(word in drill.name for word in only):
            try:
                yield drill.run(rng_of(seed, drill.name))
            except Exception as error:
                yield failed(drill.name, error)


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tries", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--steps", type=int, default=5000, help="of the long training")
    options.add_argument("--only", action="append", default=[], help="run drills with these words")
    options.add_argument("--out", type=Path, help="page to write to, unless only some are run")
    return options.parse_args()


def main() -> None:
    given, began, done, is_complete = _options(), time.monotonic(), [], False
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            drills = drills_of(set_up(root / "scene"), root, given.tries, given.steps)
            for outcome in outcomes(drills, given.seed, given.only):
                passed = time.monotonic() - began
                print(f"{passed:6.0f} s  {outcome}", file=sys.stderr, flush=True)
                done.append(outcome)
            is_complete = not given.only
        finally:
            text = "\n\n".join(filter(None, (table(done), notes(done, root))))
            print(text)
    if given.out and is_complete:
        page.put(given.out, f"{text}\n\n{_how(given, time.monotonic() - began)}")
    sys.exit(not done or any(outcome.lost or outcome.wrong for outcome in done))


def _how(given: argparse.Namespace, seconds: float) -> str:
    cores = len(os.sched_getaffinity(0))
    return (
        f"Seed {given.seed}, {given.tries} tries, {given.steps} steps, ascnet {code()}, {cores} "
        f"cores, {seconds / 60:.0f} minutes."
    )


if __name__ == "__main__":
    main()
