"""Facts about a run (settings, data sets and counts, from its `config.toml`) and about a store."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluate.counts import are_counts
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.pages.template import count
from trainer.config.toml_text import read_toml
from trainer.data.streaming.transport import is_remote, shown
from trainer.run.checkpoint import CONFIG_FILE


@dataclass(frozen=True)
class TrainingSource:
    """A data set that was trained on.

    Attributes:
        place: folder, URL or command
        counts: training_videos, expected, built, failed by reason, ...
    """

    place: str
    counts: dict[str, Any]

    @property
    def name(self) -> str:
        """The last component of its location."""
        return without_secrets(self.place).rstrip("/").rsplit("/", 1)[-1]

    @property
    def text(self) -> str:
        """Its name and its counts, as far as they are known."""
        if "expected" not in self.counts:
            return self.name
        return (
            f"{self.name}: {count(self.counts.get('built', 0))} of "
            f"{count(self.counts['expected'])} videos built, "
            f"{count(self.counts.get('training_videos', 0))} for training"
        )

    @property
    def folder(self) -> Path | None:
        """Its folder; None if it is remote."""
        return None if is_remote(self.place) else Path(self.place)


@dataclass(frozen=True)
class RunFacts:
    """What the report says about a run.

    Attributes:
        settings: {table: {name: value}}; "" is the table of top-level settings
        ranks: number of processes
    """

    settings: dict[str, dict[str, str]]
    sources: list[TrainingSource] = field(default_factory=list)
    recipe: str = ""
    backbone: str = ""
    seed: int | None = None
    code: str = ""
    split: str = ""
    steps: int = 0
    ranks: int = 1

    @property
    def is_run(self) -> bool:
        return bool(self.settings)


def read_facts(run: Path) -> RunFacts:
    """Read the facts about a run. A folder without `config.toml` (results of a file of weights) has
    none. Raises EvaluateError if there are no results either, or if the file cannot be read."""
    path = run / CONFIG_FILE
    if not path.is_file():
        if any((run / name).is_dir() for name in ("results", "features")):
            return RunFacts({})
        raise EvaluateError(
            f"{run} is not a run directory: it has no {path.name}, results/ or features/. Name a "
            "run, such as one in runs/."
        )
    try:
        return _facts(read_toml(path))
    except (ValueError, TypeError, AttributeError) as error:  # invalid TOML, or other tables
        raise EvaluateError(
            f"{path} cannot be read: {error}. Copy the run again, or name another one."
        ) from error


def _facts(config: dict[str, Any]) -> RunFacts:
    record = config.pop("run", {})
    counts = record.get("counts", {})
    optim, model = config.get("optim", {}), config.get("model", {})
    if not all(map(are_counts, counts.values())):
        raise ValueError("the counts of its data sets are not numbers")
    return RunFacts(
        settings=_flat(config),
        # Training records counts by the location without passwords.
        sources=[
            TrainingSource(place, counts.get(shown(place), {}))
            for place in record.get("shards", [])
        ],
        recipe=str(config.get("recipe", "")),
        backbone=str(model.get("backbone", "")),
        seed=config.get("seed"),
        code=str(record.get("code", "")),
        split=str(config.get("data", {}).get("split", "")),
        steps=int(optim.get("steps", 0)),
        ranks=int(record.get("ranks", 1)),
    )


def without_secrets(place: str) -> str:
    """A folder or URL without passwords. Commands are not shown, as they may contain anything."""
    return "shards from a command" if place.startswith("pipe:") else shown(place)


def _flat(config: dict[str, Any]) -> dict[str, dict[str, str]]:
    alone = {name: say(value) for name, value in config.items() if not isinstance(value, dict)}
    return {"": alone} | {n: flat(table) for n, table in config.items() if isinstance(table, dict)}


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested tables to {dotted name: value as text}."""
    rows: dict[str, str] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        rows |= flat(value, f"{name}.") if isinstance(value, dict) else {name: say(value)}
    return rows


def say(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(say, value))
    return "none" if value is None or value == "" else str(value)


def store_facts(store: Features) -> list[tuple[str, str]]:
    """Names and values that describe a feature store."""
    made = store.attributes
    return [
        ("store", store.path.name),
        ("videos", count(len(store.names))),
        ("data set", str(made.get("dataset", ""))),
        ("encoder", f"{made.get('backbone')}, {made.get('encoder')}, step {made.get('step')}"),
    ]
