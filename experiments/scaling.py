"""Draw how what is learnt from real clips grows with clips and with steps:

python -m experiments.scaling REAL CLIPS STEPS

REAL, CLIPS, STEPS: the results.json of real.toml, real_clips.toml and real_steps.toml. Prints an
SVG with two charts for each test set: over the share of the clips, and over the steps of training.
A band is one standard deviation over the seeds; at 0 stand calibrated networks, which learnt
nothing.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluate.pages.chart import HEIGHT, WIDTH, Chart, Line, draw_chart, swatch
from experiments.table import Results, Seeds, by_seed

TEST_SETS = {
    "arid": "ARID",
    "ut_interaction": "UT-Interaction",
    "weizmann64": "Weizmann",
    "fight_surv": "Fights",
    "skateboard_court": "Skateboard",
}
MEASURES = {
    "class recall@1": "recall@1",
    "class linear": "linear probe",
    "class 4-shot": "4-shot",
    "speed linear": "speed, linear",
}
Points = Mapping[str, tuple[Results, str, str]]  # results, data set, variant; by the axis' labels
_HEAD, _TITLE = 30, 24
_STYLE = (
    "text{font:11px sans-serif;fill:#222}.title{font-weight:bold}.grid{stroke:#ddd}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.band{opacity:.15;stroke:none}"
    + "".join(
        f".line.l{i}{{stroke:{colour}}}.band.l{i}{{fill:{colour}}}"
        for i, colour in enumerate(("#1f5fa8", "#b3541e", "#2c7a3f", "#7b3f98"))
    )
)


def points_of(real: Results, clips: Results, steps: Results) -> dict[str, Points]:
    """What the two axes have, by their names."""
    start, end = (real, "real", "calibrated"), (real, "real", "real")
    return {
        "clips": {
            "0": start,
            "10 %": (clips, "real_10", "real"),
            "30 %": (clips, "real_30", "real"),
            "all": end,
        },
        "steps": {
            "0": start,
            "400": (steps, "real", "real, 400 steps"),
            "800": (steps, "real", "real, 800 steps"),
            "1 200": end,
        },
    }


def draw(axes: Mapping[str, Points]) -> str:
    """The SVG: a row for each test set, a column for each axis, lines for the measures."""
    width, height = WIDTH * len(axes), _HEAD + (_TITLE + HEIGHT) * len(TEST_SETS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><style>{_STYLE}</style>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, measure in enumerate(MEASURES.values()):
        x = 42 + 150 * number
        parts.append(f'<svg x="{x}" y="12" width="26" height="8">{swatch(number)}</svg>')
        parts.append(f'<text x="{x + 34}" y="20">{measure}</text>')
    for row, name in enumerate(TEST_SETS):
        top = _HEAD + (_TITLE + HEIGHT) * row
        for column, (axis, points) in enumerate(axes.items()):
            chart = chart_of(name, axis, points)
            left = WIDTH * column
            parts.append(f'<text class="title" x="{left + 42}" y="{top + 17}">{chart.title}</text>')
            parts.append(
                f'<svg x="{left}" y="{top + _TITLE}" width="{WIDTH}" height="{HEIGHT}">'
                f"{draw_chart(chart)}</svg>"
            )
    return "\n".join((*parts, "</svg>\n"))


def chart_of(test_set: str, axis: str, points: Points) -> Chart:
    """The chart of a test set: mean and standard deviation of each measure, in percent."""
    lines = []
    for measure, name in MEASURES.items():
        seeds = [by_seed(*where, f"{test_set} {measure}") for where in points.values()]
        lines.append(Line(name, [*map(_mean, seeds)], [*map(_deviation, seeds)]))
    places = [float(place) for place in range(len(points))]
    title = f"{TEST_SETS[test_set]}, by {axis}"
    return Chart(title, " %", axis, places, lines, digits=1, x_labels=list(points))


def _mean(seeds: Seeds) -> float | None:
    return statistics.fmean(seeds.values()) if seeds else None


def _deviation(seeds: Seeds) -> float | None:
    return statistics.stdev(seeds.values()) if len(seeds) > 1 else None


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 3:
        sys.exit("Say: python -m experiments.scaling REAL CLIPS STEPS (three results.json).")
    results = [json.loads(Path(path).read_text(encoding="utf-8")) for path in arguments]
    print(draw(points_of(*results)), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
