"""Compare two variants of an experiment, seed by seed:

python -m experiments.compare RESULTS DATA VARIANT OTHER

RESULTS: a `results.json`, such as docs/evidence/results.json.
"""

import json
import sys
from pathlib import Path

from builder.text_table import aligned
from experiments.table import Results, by_seed, differences, names_of, words


def compare(results: Results, data: str, variant: str, other: str) -> list[list[str]]:
    """Rows of a table, one for each figure: its name, mean and standard deviation of VARIANT minus
    OTHER over the seeds that both have, and the difference for each seed. Raises LookupError if
    they have no seed in common."""
    rows = []
    for name in names_of(results, data):
        values, baseline = (by_seed(results, data, one, name) for one in (variant, other))
        if paired := differences(values, baseline):
            rows.append([name, words(paired, "+"), "  ".join(f"{one:+.1f}" for one in paired)])
    if not rows:
        known = dict.fromkeys(f"{result['data']}: {result['variant']}" for result in results)
        raise LookupError(
            f"{variant!r} and {other!r} have no seed in common on {data!r}. There are:\n  "
            + "\n  ".join(known)
        )
    return rows


def main(arguments: list[str]) -> None:
    try:
        path, data, variant, other = arguments
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        print("\n".join(aligned(compare(results, data, variant, other))))
    except (LookupError, OSError) as error:
        sys.exit(str(error.args[0] if isinstance(error, LookupError) else error))
    except ValueError:
        sys.exit("Say: python -m experiments.compare RESULTS.json DATA VARIANT OTHER")


if __name__ == "__main__":
    main(sys.argv[1:])
