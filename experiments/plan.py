"""The plan of an experiment: data sets x variants x seeds, read from a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

from builder.shards.manifest import DATASET_FILE, fingerprint
from evaluate.errors import EvaluateError
from evaluate.protocol import Protocol, changed_protocol, protocol_of
from experiments.hand_crafted import HAND_CRAFTED
from experiments.peers import PEER_OF
from trainer.config.recipe_file import dump, load_recipe, override
from trainer.config.settings import Config
from trainer.errors import TrainerError
from trainer.run.checkpoint import list_checkpoints
from trainer.run.run_directory import digest_of

ASCNET, UNTRAINED, CALIBRATED, TRAINED = "ascnet", "untrained", "calibrated", "trained"
KINDS = (ASCNET, UNTRAINED, CALIBRATED, TRAINED, *HAND_CRAFTED, *PEER_OF)


@dataclass(frozen=True)
class Data:
    """The data sets to train and to test on.

    Attributes:
        train: folders of the data sets to train on
        test: folders of the data sets to test on
        factors: known factors of the videos that are measured besides the class
        folds: number of cross-validation folds of all labelled videos, with groups kept whole; 0 to
            test the split
        by_split: those of `test` that are tested by their split in spite of `folds`
        choosing: whether the folds are of the split's training part only, to choose settings on it
        protocol: changes of the evaluation protocol, such as "size=80"
        shots: labelled videos per class for few-shot classification; 0 for none
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    factors: tuple[str, ...] = ()
    folds: int = 0
    by_split: tuple[str, ...] = ()
    choosing: bool = False
    protocol: tuple[str, ...] = ()
    shots: int = 0

    @property
    def missing(self) -> list[str]:
        """Folders without a finished data set."""
        return [name for name in self.folders if not (Path(name) / DATASET_FILE).is_file()]

    @property
    def folders(self) -> list[str]:
        """Folders of all data sets, each once."""
        return list(dict.fromkeys((*self.train, *self.test)))


@dataclass(frozen=True)
class Variant:
    """One way of training.

    Attributes:
        kind: one of KINDS
        run: for kind `trained`, the run directory; "{seed}" stands for the seed
        step: for kind `trained`, the step of a milestone; 0 for the last checkpoint
        set: changes of the recipe's settings; "{seed}" stands for the seed
        seeds: some of the plan's seeds; () for all of them
    """

    name: str
    kind: str = ASCNET
    run: str = ""
    step: int = 0
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    data: Data
    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.data.name}, {self.variant.name}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """For kind `trained`, the run directory of the backbone that is measured."""
        return Path(self.variant.run.replace("{seed}", str(self.seed)))

    def folder(self, out: Path) -> Path:
        """The cell's folder in `out`."""
        words = "-".join("".join(c if c.isalnum() else " " for c in self.variant.name).split())
        return out / self.data.name / f"{words}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """An experiment.

    Attributes:
        recipe: name of a recipe, or path of a TOML file
        baseline: name of the variant with which the others are compared
        at_once: number of cells that are computed in parallel
        shown: figures of the short table and of the picture, by the headings of their columns;
            {}: no short table, all figures
        set: changes of the recipe's settings, for all variants
    """

    recipe: str
    seeds: tuple[int, ...]
    baseline: str
    at_once: int
    set: tuple[str, ...]
    data: tuple[Data, ...]
    variants: tuple[Variant, ...]
    shown: Mapping[str, str]

    @property
    def cells(self) -> list[Cell]:
        """All cells, seed by seed, so that a plan that is stopped early has every variant."""
        return [
            Cell(data, variant, seed)
            for seed in self.seeds
            for data in self.data
            for variant in self.variants
            if seed in self.seeds_of(variant)
        ]

    def seeds_of(self, variant: Variant) -> tuple[int, ...]:
        """The seeds of a variant; a single one if nothing in it is random."""
        return self.seeds[:1] if variant.kind in HAND_CRAFTED else variant.seeds or self.seeds

    def settings(self, cell: Cell) -> Config:
        """The settings of a cell's training. Raises TrainerError for an invalid change."""
        changes = (change.replace("{seed}", str(cell.seed)) for change in cell.variant.set)
        return override(load_recipe(self.recipe), (*self.set, *changes, f"seed={cell.seed}"))

    def protocol(self, cell: Cell) -> Protocol:
        """The evaluation protocol of a cell. Raises EvaluateError for an invalid change."""
        return changed_protocol(protocol_of(self.settings(cell)), cell.data.protocol)

    def identity(self, cell: Cell) -> dict[str, Any]:
        """All that a cell's figures depend on, except the code; if it changes, the cell is computed
        again."""
        settings = self.settings(cell)
        identity = {
            "kind": cell.variant.kind,
            "train": list(cell.data.train),
            "test": list(cell.data.test),
            "factors": list(cell.data.factors),
            "folds": cell.data.folds,
            "sha256": {place: fingerprint(Path(place)) for place in cell.data.folders},
            "settings": dump(settings),
        }
        if settings.model.init:
            exists = Path(settings.model.init).is_file()
            identity["init"] = digest_of(settings.model.init) if exists else ""
        if cell.data.by_split:
            identity["by_split"] = list(cell.data.by_split)
        if cell.data.choosing:
            identity["choosing"] = True
        if cell.data.shots:
            identity["shots"] = cell.data.shots
        if cell.data.protocol:
            identity["protocol"] = self.protocol(cell).identity
        if cell.variant.kind == TRAINED:
            step = cell.variant.step
            checkpoints = [
                path for path in list_checkpoints(cell.run) if step in (0, int(path.stem))
            ]
            identity["run"] = str(cell.run)
            identity["checkpoint"] = [sha256(p.read_bytes()).hexdigest() for p in checkpoints[-1:]]
        return identity


def load(path: Path) -> Plan:
    """Load a plan from a TOML file. Raises TrainerError if it is invalid."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        plan = Plan(
            recipe=_beside(path, table["recipe"]),
            seeds=tuple(table["seeds"]),
            baseline=table["baseline"],
            at_once=table["at_once"],
            set=tuple(table["set"]),
            data=tuple(Data(name, **_tuples(row)) for name, row in table["data"].items()),
            variants=_crossed(
                [Variant(name, **_tuples(v)) for name, v in table["variants"].items()],
                table.get("grid", {}),
            ),
            shown=dict(table.get("shown", {})),
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TrainerError(f"{path} is no plan of an experiment: {error!r}.") from error
    _check(path, plan)
    return plan


def _crossed(variants: list[Variant], grid: dict[str, list[Any]]) -> tuple[Variant, ...]:
    """Every variant that trains, with every combination of the values in `grid` (lists of values by
    setting). Names of variants then include the combination."""
    names = [setting.rpartition(".")[2] for setting in grid]
    crossed = []
    for variant in variants:
        if variant.kind in (UNTRAINED, CALIBRATED, TRAINED, *HAND_CRAFTED) or not grid:
            crossed.append(variant)
            continue
        for values in product(*grid.values()):
            words = (f"{name} {value}" for name, value in zip(names, values, strict=True))
            chosen = (f"{key}={value}" for key, value in zip(grid, values, strict=True))
            crossed.append(
                replace(
                    variant,
                    name=", ".join((variant.name, *words)),
                    set=(*variant.set, *chosen),
                )
            )
    return tuple(crossed)


def _beside(path: Path, recipe: str) -> str:
    """Resolve the path of a recipe relative to the plan; names of recipes stay."""
    return str(path.parent / recipe) if recipe.endswith(".toml") else recipe


def _tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def _check(path: Path, plan: Plan) -> None:
    for variant in plan.variants:
        if variant.kind not in KINDS:
            raise TrainerError(
                f"{path}: {variant.name} is of kind {variant.kind!r}; there are {', '.join(KINDS)}."
            )
        if (variant.kind == TRAINED) != bool(variant.run):
            raise TrainerError(
                f"{path}: {variant.name} is of kind {variant.kind!r} with run {variant.run!r}; "
                f"{TRAINED!r} takes a run, and no other kind does."
            )
        if others := set(variant.seeds) - set(plan.seeds):
            raise TrainerError(
                f"{path}: seeds of {variant.name} has {', '.join(map(str, sorted(others)))}, which "
                f"the plan's {list(plan.seeds)} lack; name some of these."
            )
    if plan.baseline not in {variant.name for variant in plan.variants}:
        raise TrainerError(f"{path}: the baseline {plan.baseline!r} is none of the variants.")
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds):
        raise TrainerError(f"{path}: seeds are {list(plan.seeds)}; name one or more, each once.")
    for data in plan.data:
        _check_data(path, data)
    if plan.at_once < 1:
        raise TrainerError(f"{path}: at_once is {plan.at_once}; it takes 1 or more.")
    try:
        for cell in plan.cells:
            plan.protocol(cell)
    except EvaluateError as error:
        raise TrainerError(f"{path}: {error}") from error


def _check_data(path: Path, data: Data) -> None:
    if data.folds < 0 or data.folds == 1:
        raise TrainerError(
            f"{path}: folds of {data.name} is {data.folds}; it takes 0 (the split), 2 or more."
        )
    if others := set(data.by_split) - set(data.test):
        raise TrainerError(
            f"{path}: by_split of {data.name} names {', '.join(sorted(others))}, which is not "
            f"tested; test is {', '.join(data.test)}."
        )
    if data.shots < 0:
        raise TrainerError(f"{path}: shots of {data.name} is {data.shots}; it takes 0 or more.")
    if data.choosing and not data.folds:
        raise TrainerError(
            f"{path}: choosing is set for {data.name} without folds, in which that "
            "part is tested. Set folds to 2 or more."
        )
