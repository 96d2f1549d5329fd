"""Results as words and as JSON. Every figure carries its protocol and its counts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.atomic import write_atomically


def table(result: dict[str, Any]) -> str:
    """A result as a table with its caption: a row for each encoder, a column for each figure."""
    encoders: dict[str, dict[str, float | None]] = result["results"]
    columns = [key for key in next(iter(encoders.values())) if key in result["columns"]]
    rows = [["", *columns]]
    rows += [[name, *(_figure(row[key]) for key in columns)] for name, row in encoders.items()]
    return f"{_title(result)}\n{_align(rows)}\n{_caption(result)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.rjust(w) if i else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _title(result: dict[str, Any]) -> str:
    what = {"retrieval": "Retrieval", "linear": "Linear probe"}[result["task"]]
    return f"{what} on {result['dataset']}, split {result['split']} (%)"


def _caption(result: dict[str, Any]) -> str:
    p, counts = result["protocol"], result["counts"]
    lost = sum(counts["dataset"]["failed"].values())
    names = ("gallery", "queries") if result["task"] == "retrieval" else ("train", "test")
    lines = [
        f"  {names[0]} {counts['train']} (train part), {names[1]} {counts['test']} (test part), "
        f"{lost} of {counts['dataset']['expected']} source videos missing"
        + (f", {counts['unlabelled']} unlabelled left out" if counts["unlabelled"] else ""),
        f"  {p['clips']} clips x {p['frames']} frames, stride {p['stride']}, {p['crop']} crop "
        f"{p['size']}, {p['layer']}, {p['pooling']}; {p['comparison']}",
        f"  {p['backbone']}, recipe {p['recipe']}, seed {p['seed']}, step {p['step']}; "
        "untrained: the same network as training began with",
    ]
    if result["trained_on"]["test_videos_seen"]:
        lines.append(
            f"  Careful: the run was trained on split {result['trained_on']['split']} of this data "
            "set, and its training saw test videos of this one (without their labels)."
        )
    return "\n".join(lines)


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")
