"""`make evidence`: compare training objectives at equal budget.

    python -m experiments.evidence [PLAN] [OUT]

By default PLAN is experiments/evidence.toml and OUT is runs/evidence. Finished cells are not
computed again, so the same command resumes where it was stopped. Every cell writes a `result.json`.
OUT/table.md, OUT/figure.svg and OUT/results.json (all cells' figures, a line each) are updated
after every cell.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from ascnet.progress import ProgressBar
from builder.atomic import only_writer, write_atomically
from builder.errors import BuilderError
from experiments.cell import RESULT
from experiments.figure import figure
from experiments.plan import Cell, Plan, load
from experiments.table import markdown, short
from trainer.errors import TrainerError


def compute(path: Path, out: Path) -> Plan:
    """Compute the cells of the plan at `path` that are not in `out` yet. Returns the plan without
    missing data sets."""
    plan = load(path)
    present = replace(plan, data=tuple(data for data in plan.data if not data.missing))
    for data in plan.data:
        if data.missing:
            missing = ", ".join(data.missing)
            print(f"{data.name} is left out: there are no shards in {missing}.", flush=True)
    cells = [
        (number, cell)
        for number, cell in enumerate(plan.cells)
        if cell.data in present.data and not is_done(plan, cell, out)
    ]
    total = len(present.cells)
    before = total - len(cells)
    out.mkdir(parents=True, exist_ok=True)
    with (
        only_writer(out),
        ThreadPoolExecutor(plan.at_once) as pool,
        ProgressBar("measuring", "cells") as progress,
    ):
        jobs = {pool.submit(_process, path, out, number, cell): cell for number, cell in cells}
        progress(before, total, "")
        try:
            for count, job in enumerate(as_completed(jobs), before + 1):
                result = job.result()
                write(present, out)
                text = result.get("error") or f"{result['seconds']:.0f} s"
                progress(count, total, f"{jobs[job].name}: {text}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # start no further cells
            raise
    return present


def is_done(plan: Plan, cell: Cell, out: Path) -> bool:
    """Whether the cell has figures, computed with the plan's present settings."""
    result = result_of(cell, out)
    return result is not None and "figures" in result and result["asked"] == plan.identity(cell)


def result_of(cell: Cell, out: Path) -> dict[str, Any] | None:
    """The contents of a cell's `result.json`; None if there is none."""
    path = cell.folder(out) / RESULT
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def results(plan: Plan, out: Path) -> Iterator[dict[str, Any]]:
    """Yield the results of the plan's cells, without figures computed with other settings."""
    for cell in plan.cells:
        result = result_of(cell, out)
        if result is not None and ("error" in result or is_done(plan, cell, out)):
            yield result


def write(plan: Plan, out: Path) -> None:
    """Write results.json, table.md and figure.svg of the cells that have results."""
    cells = list(results(plan, out))
    rows = [json.dumps(_kept(cell)) for cell in cells]
    write_atomically(out / "results.json", "[\n" + ",\n".join(rows) + "\n]\n")
    order = [variant.name for variant in plan.variants]
    table = markdown(cells, order, plan.baseline)
    if plan.shown:
        table = f"{short(cells, order, plan.shown)}\n\n{table}"
    write_atomically(out / "table.md", table)
    write_atomically(out / "figure.svg", figure(cells, order, plan.shown))


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    """What results.json keeps of a cell's result: `speed_told` is the training's last one."""
    last = {key: value for key, value in result.get("last", {}).items() if key == "speed_told"}
    return {key: value for key, value in (result | last).items() if key in _KEPT}


def _process(path: Path, out: Path, number: int, cell: Cell) -> dict[str, Any]:
    """Compute a cell in a process with one thread. Returns its result; if the process dies, a
    result with the last line of its stderr as the error."""
    (cell.folder(out) / RESULT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "experiments.cell", str(path), str(out), str(number)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=False)
    result = result_of(cell, out)
    if result is not None:
        return result
    lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
    result = {"data": cell.data.name, "variant": cell.variant.name, "seed": cell.seed}
    result["error"] = f"The process died: {lines[-1]}"
    cell.folder(out).mkdir(parents=True, exist_ok=True)
    write_atomically(cell.folder(out) / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def main(arguments: list[str]) -> None:
    path, out = [*map(Path, arguments), *_USUAL[len(arguments) :]]
    try:
        plan = compute(path, out)
        if not plan.data:
            raise TrainerError("There is nothing to measure on. Build it: ascnet build shapes.")
        write(plan, out)
    except (BuilderError, TrainerError) as error:
        sys.exit(str(error))
    print((out / "table.md").read_text(encoding="utf-8"))
    print(f"{out / 'table.md'}, {out / 'figure.svg'}")


_KEPT = ("data", "variant", "seed", "figures", "error", "seconds", "code", "speed_told")
_USUAL = (Path(__file__).parent / "evidence.toml", Path("runs/evidence"))

if __name__ == "__main__":
    main(sys.argv[1:])
