"""Results as text and as JSON. Every figure comes with its protocol and its counts."""

import json
from pathlib import Path
from typing import Any

from builder.atomic import write_atomically
from builder.counted import counted
from builder.text_table import aligned

TITLES = {
    "retrieval": "Retrieval",
    "linear": "Linear probe",
    "linear-on-the-fly": "Linear probe on augmented clips",
    "attentive-on-the-fly": "Attentive probe on augmented clips",
    "knn": "k nearest neighbours vote",
    "fewshot": "Few labels",
    "finetune": "Fine-tuning",
}
CALIBRATED_IS = "untrained, batch-norm statistics of training clips"
_FEW = 100  # test videos; with fewer, figures are uncertain


def table(result: dict[str, Any]) -> str:
    """A result as a table with a caption: a row per encoder, a column per figure, with the standard
    deviation over the splits if there are several."""
    columns, spread = result["columns"], result["spread"] or {}
    rows = [["", *columns]]
    rows += [
        [name, *(figure_text(row.get(key), spread.get(name, {}).get(key)) for key in columns)]
        for name, row in result["results"].items()
    ]
    lines = "\n".join(f"  {line}" for line in aligned(rows, range(1, len(rows[0]))))
    return f"{title(result)} (%)\n{lines}\n{_caption(result)}"


def title(result: dict[str, Any]) -> str:
    """The title of a result, such as "Retrieval on shapes, split 1"."""
    splits = list(result["splits"])
    which = f"split {splits[0]}" if len(splits) == 1 else f"mean of splits {', '.join(splits)}"
    factor = f" ({result['factor']})" if result["factor"] else ""
    return f"{TITLES[result['task']]} on {result['dataset']}{factor}, {which}"


def figure_text(value: float | None, spread: float | None) -> str:
    """A figure as text, such as "50.3" or "50.3 ± 1.2"; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if spread is None else f"{value:.1f} ± {spread:.1f}"


def _caption(result: dict[str, Any]) -> str:
    p = result["protocol"]
    how = f"{p['clips']} clips" if not p["every"] else f"a clip every {p['every']:g} s"
    rate = f" at {p['fps']:g} fps" if p.get("fps") else ""
    crop = "centre crop" if p["crops"] == 1 else f"{p['crops']} crops"
    compared = p["comparison"].replace("the train part", "the training set")
    lines = [
        *_counts(result),
        *([f"  {drawn_text(result)}"] if result["task"] == "fewshot" else []),
        f"  {how} x {p['frames']} frames, stride {p['stride']}{rate}, {crop} {p['size']}, "
        f"layer {p['layer']}, {p['pooling']}-pooled; {compared}",
        f"  {p['backbone']}, recipe {p['recipe']}, seed {p['seed']}, step {p['step']}"
        + "".join(f"; {text}" for text in _baselines(result)),
    ]
    lines += [f"  {text}" for text in cautions(result)]
    if result.get("baseline_left_out"):
        lines.append(f"  {left_out_text(result)}")
    if result.get("enlarged"):
        lines.append(f"  {result['enlarged']}")
    if result["trained_on"]["test_videos_seen"] is None:
        lines.append("  Caution: pretraining data unknown; it may include test videos.")
    elif result["trained_on"]["test_videos_seen"]:
        lines.append(f"  {seen_text(result['trained_on'])}")
    return "\n".join(lines)


def cautions(result: dict[str, Any]) -> list[str]:
    """Sentences about figures that mean little: with one class, or few test videos."""
    sentences = []
    if len(result["classes"]) == 1:
        sentences.append("Caution: all videos are of one class, so every figure is 100 %.")
    tested = sum(part["counts"]["test"] for part in result["splits"].values())
    if 0 < tested < _FEW:
        width = 1.96 * 50 / tested**0.5
        sentences.append(
            f"Caution: {counted(tested, 'test video')}: the 95 % confidence interval of a share is "
            f"up to ± {width:.0f} points."
        )
    return sentences


def drawn_text(result: dict[str, Any]) -> str:
    """The meaning of the columns for few labels, and of their spread."""
    draws = (result["protocol"].get("labels") or {}).get("draws", "?")
    over = "splits" if len(result["splits"]) > 1 else "draws"
    return (
        f"columns: labelled videos of each class, or share of all; {draws} draws by source "
        f"recording, mean ± standard deviation over the {over}"
    )


def seen_text(trained_on: dict[str, Any]) -> str:
    """The warning that training saw test videos."""
    number = trained_on.get("test_videos_seen_number")
    how_many = f"{number} of the test videos" if number else "test videos"
    return (
        f"Careful: the run was trained on split {trained_on.get('split', '?')} of its data, and "
        f"its training saw {how_many} (without their labels)."
    )


def left_out_text(result: dict[str, Any]) -> str:
    """Why a baseline is missing."""
    return f"calibrated ({CALIBRATED_IS}) is left out: {result['baseline_left_out']}"


def _baselines(result: dict[str, Any]) -> list[str]:
    """The meaning of the rows of baselines."""
    untrained = "random initialisation (same seed)"
    if "source_sha256" in result["trained_on"]:
        untrained = "as given by the encoder file"
    elif {"weights", "encoder"} & set(result["trained_on"]):
        untrained = "random initialisation"
    meanings = {
        "untrained": untrained,
        "initial weights": "the weights that training began with (--init)",
        "calibrated": CALIBRATED_IS,
    }
    return [f"{row}: {text}" for row, text in meanings.items() if row in result["results"]]


def _counts(result: dict[str, Any]) -> list[str]:
    whole = result["counts"]
    lost = f"{sum(whole['failed'].values())} of {whole['expected']} source videos missing"
    names = ("gallery", "queries") if result["task"] == "retrieval" else ("train", "test")
    tested = "queries" if result["task"] == "retrieval" else "test videos"
    lines = []
    for split, part in result["splits"].items():
        counts = part["counts"]
        left_out = f", {counts['unlabelled']} unlabelled left out" if counts["unlabelled"] else ""
        which = f"split {split}: " if len(result["splits"]) > 1 else ""
        lines.append(
            f"  {which}{names[0]} {counts['train']} (training set), {names[1]} {counts['test']} "
            f"({part['test_part']} set), {lost}{left_out}"
        )
        lines += [f"  {which}{text}" for text in not_counted(part, tested)]
    return lines


def not_counted(split: dict[str, Any], tested: str) -> list[str]:
    """Sentences about test videos that are left out of a split's figures, as their class is not
    available. `tested` is the word for test videos. Results of earlier versions have none."""
    sentences, counts = [], split.get("counts") or {}
    if unknown := counts.get("class_not_in_train"):
        every = unknown + counts["test"]
        sentences.append(
            f"{unknown} of {every} {tested} left out: the training set has none of their class"
        )
    for row, details in (split.get("details") or {}).items():
        left = (details or {}).get("queries_without_their_class")
        if left and details.get("left_out"):
            sentences.append(
                f"{row}: {left} of {len(details['predictions'])} {tested} left out: no video of "
                "their class is left in the gallery"
            )
        drawn = (details or {}).get("left_out_of_draws") or []
        sentences += [text for text in drawn if text not in sentences]  # the same for all encoders
    return sentences


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")
