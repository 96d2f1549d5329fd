"""Tables of means, standard deviations and paired differences, in markdown."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from builder import text_table

Results = Sequence[dict[str, Any]]  # the contents of the cells' result files
Seeds = dict[int, float]  # a figure in percent, by seed


def by_seed(results: Iterable[dict[str, Any]], data: str, variant: str, name: str) -> Seeds:
    """One figure of one variant, by seed."""
    return {
        result["seed"]: result["figures"][name]
        for result in results
        if (result["data"], result["variant"]) == (data, variant)
        and name in result.get("figures", {})
    }


def names_of(results: Results, data: str) -> list[str]:
    """The names of a data set's figures, in their order."""
    cells = [result.get("figures", {}) for result in results if result["data"] == data]
    return list(dict.fromkeys(name for figures in cells for name in figures))


def differences(values: Seeds, baseline: Seeds) -> list[float]:
    """Values minus baseline for every seed that both have."""
    return [value - baseline[seed] for seed, value in values.items() if seed in baseline]


def words(values: Sequence[float], sign: str = "") -> str:
    """Mean and sample standard deviation (n - 1) as text: "41.2 ± 1.3"; "41.2" for one value, "–"
    for none. `sign`: "+" to show signs."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):{sign}.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def markdown(results: Results, variants: Sequence[str], baseline: str) -> str:
    """For every data set, a table of the figures and one of the paired differences from the
    baseline; then the failed cells."""
    blocks = []
    for data in dict.fromkeys(result["data"] for result in results):
        names = names_of(results, data)
        base = [by_seed(results, data, baseline, name) for name in names]
        head = ["variant", "seeds", *(name.removeprefix(f"{data} ") for name in names)]
        means, paired = [head], [head]
        for variant in variants:
            figures = [by_seed(results, data, variant, name) for name in names]
            if not any(figures):
                continue
            means.append(_row(variant, [list(seeds.values()) for seeds in figures]))
            if variant != baseline:
                less = [differences(*both) for both in zip(figures, base, strict=True)]
                paired.append(_row(variant, less, "+"))
        blocks += [
            f"## {data}: percent, mean ± standard deviation over the seeds",
            text_table.markdown(means),
            f"## {data}: less {baseline}, seed by seed, mean ± standard deviation",
            text_table.markdown(paired),
        ]
    failed = [
        f"- {r['data']}, {r['variant']}, seed {r['seed']}: {r['error']}"
        for r in results
        if "error" in r
    ]
    if failed:
        blocks += ["## Failed", "\n".join(failed)]
    return "\n\n".join(blocks) + "\n"


def short(results: Results, variants: Sequence[str], shown: Mapping[str, str]) -> str:
    """One table with a row for each variant, and for each data set if there are several; if there
    are fewer of these than figures, with a column for each. `shown`: the names of the figures by
    their headings."""
    every = list(dict.fromkeys(result["data"] for result in results))
    rows = [["", "seeds", *shown]]
    for data in every:
        for variant in variants:
            figures = [by_seed(results, data, variant, name) for name in shown.values()]
            if any(figures):
                title = variant if len(every) == 1 else f"{variant}, {data}"
                rows.append(_row(title, [list(seeds.values()) for seeds in figures]))
    if len(rows) <= len(shown):
        rows = [list(column) for column in zip(*rows, strict=True)]
    return text_table.markdown(rows)


def _row(variant: str, values: Sequence[Sequence[float]], sign: str = "") -> list[str]:
    return [variant, str(max(map(len, values))), *(words(v, sign) for v in values)]
