"""What is measured: data sets x variants x seeds, read from a TOML file."""

import re
import tomllib
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
    """What is trained on and what is tested on: folders of data sets."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    factors: tuple[str, ...] = ()  # known factors of the videos that are asked for, too
    folds: int = 0  # all labelled videos in so many parts of whole groups, each tested; 0: a split
    by_split: tuple[str, ...] = ()  # of `test` those that are tested by their split all the same
    choosing: bool = False  # the folds are of the split's training part: settings are chosen there
    protocol: tuple[str, ...] = ()  # changes of how features are taken, such as "size=80"
    shots: int = 0  # few-shot: labelled videos a class; 0: not measured

    @property
    def missing(self) -> list[str]:
        """Folders without a finished data set."""
        return [name for name in self.folders if not (Path(name) / DATASET_FILE).is_file()]

    @property
    def folders(self) -> list[str]:
        return list(dict.fromkeys((*self.train, *self.test)))


@dataclass(frozen=True)
class Variant:
    """One way of training; `kind` is one of KINDS."""

    name: str
    kind: str = ASCNET
    run: str = ""  # of kind `trained`: where its training is; "{seed}" is the seed
    step: int = 0  # of kind `trained`: of a milestone; 0: the last
    set: tuple[str, ...] = ()  # changes of the recipe; "{seed}" is the seed
    seeds: tuple[int, ...] = ()  # fewer than the plan's; none named: all of the plan's


@dataclass(frozen=True)
class Cell:
    """One training and its measures."""

    data: Data
    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.data.name}, {self.variant.name}, seed {self.seed}"

    @property
    def run(self) -> Path:
        """Of kind `trained`: the run whose network is measured."""
        return Path(self.variant.run.replace("{seed}", str(self.seed)))

    def folder(self, out: Path) -> Path:
        words = "-".join("".join(c if c.isalnum() else " " for c in self.variant.name).split())
        return out / self.data.name / f"{words}-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    recipe: str
    seeds: tuple[int, ...]
    baseline: str  # name of the variant that the others are compared with
    at_once: int  # processes
    set: tuple[str, ...]
    data: tuple[Data, ...]
    variants: tuple[Variant, ...]

    @property
    def cells(self) -> list[Cell]:
        """Seed by seed, so that a plan that is stopped early has something of every variant."""
        return [
            Cell(data, variant, seed)
            for seed in self.seeds
            for data in self.data
            for variant in self.variants
            if seed in self.seeds_of(variant)
        ]

    def seeds_of(self, variant: Variant) -> tuple[int, ...]:
        """One of a variant in which nothing is random."""
        return self.seeds[:1] if variant.kind in HAND_CRAFTED else variant.seeds or self.seeds

    def settings(self, cell: Cell) -> Config:
        """Raises TrainerError for an assignment that no recipe can have."""
        changes = (change.replace("{seed}", str(cell.seed)) for change in cell.variant.set)
        return override(load_recipe(self.recipe), (*self.set, *changes, f"seed={cell.seed}"))

    def protocol(self, cell: Cell) -> Protocol:
        """How features are taken. Raises EvaluateError for a change that no protocol can have."""
        return changed_protocol(protocol_of(self.settings(cell)), cell.data.protocol)

    def identity(self, cell: Cell) -> dict[str, Any]:
        """All that decides a cell's figures, but for the code: it is made anew if this changes.
        `even_tempo`, `speeds` and `neighbour` are choices that plans had once; they stay, so that
        cells that were computed before keep their identity; `normalise` came later, and SCP's
        target "neighbour" was called "place"."""
        settings = self.settings(cell)
        text = re.sub(r"(?m)^(neighbours = .*)$", r'\1\nneighbour = "appearance"', dump(settings))
        text = text.replace('normalise = "fixed"\n', "")
        text = text.replace('speed_target = "neighbour"', 'speed_target = "place"')
        identity = {
            "kind": cell.variant.kind,
            "even_tempo": False,
            "train": list(cell.data.train),
            "test": list(cell.data.test),
            "factors": list(cell.data.factors),
            "folds": cell.data.folds,
            "speeds": [],
            "sha256": {place: fingerprint(Path(place)) for place in cell.data.folders},
            "settings": text,
        }
        if settings.model.init:
            there = Path(settings.model.init).is_file()
            identity["init"] = digest_of(settings.model.init) if there else ""
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
    """Raises TrainerError for a file that is no plan."""
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
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TrainerError(f"{path} is no plan of an experiment: {error!r}.") from error
    _check(path, plan)
    return plan


def _crossed(variants: list[Variant], grid: dict[str, list[Any]]) -> tuple[Variant, ...]:
    """Every variant that trains with every combination of the settings in `grid`, all lists of
    values by the setting's name; the combination is a part of the variant's name."""
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
    """A file of settings is named as it lies beside the plan."""
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
