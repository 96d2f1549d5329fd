"""An evaluation request: its choices in words and in file names."""

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from evaluate.choices import ATTENTIVE
from evaluate.encoders import TRAINED, Subject, Subjects
from evaluate.finetune import settings as finetune_settings
from evaluate.finetune.settings import FinetuneSettings, protocol_for, train_protocol
from evaluate.probe.few_labels import AMOUNTS, DRAWS, SEED, C
from evaluate.probe.probe import ProbeSettings
from evaluate.protocol import Protocol, protocol_of
from evaluate.retrieval.knn import TEMPERATURE

_PROBED = ("linear", "fewshot")  # tasks with a linear classifier on stored features


@dataclass(frozen=True)
class Question:
    """What to evaluate, and how.

    Attributes:
        task: one of TASKS, ON_THE_FLY or ATTENTIVE_ON_THE_FLY
        split: name of a split, or "all"
        factor: a known factor of the videos that replaces their class; "": the class
        centring: for retrieval and kNN, one of choices.CENTRINGS
        probe: settings of the linear probe
        finetune: settings for tasks that train on clips; None for other tasks
        baseline: whether the untrained networks are also evaluated
    """

    task: str
    split: str
    protocol: Protocol
    factor: str = ""
    centring: str = "none"
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    finetune: FinetuneSettings | None = None
    baseline: bool = True

    @property
    def size(self) -> int:
        """Side of the largest clips used, for testing or training, in pixels."""
        if self.finetune is None:
            return self.protocol.size
        return max(self.protocol.size, train_protocol(self.protocol, self.finetune).size)

    def choices(self, subjects: Subjects) -> dict[str, Any]:
        """All choices that the figures depend on."""
        of_features = self.task in ("retrieval", "knn")
        drawn = {"amounts": [a.name for a in AMOUNTS], "draws": DRAWS, "seed": SEED, "C": C}
        return {
            **subjects.trained.facts,
            **self.protocol.identity,
            **({"pooling": "attention"} if self._attends else {}),
            "comparison": self._comparison(),
            "centring": self.centring if of_features else None,
            "temperature": TEMPERATURE if self.task == "knn" else None,
            "probe": asdict(self.probe) if self.task in _PROBED else None,
            "classifier": asdict(self.finetune) if self.finetune else None,
            **({"labels": drawn} if self.task == "fewshot" else {}),
        }

    @property
    def _attends(self) -> bool:
        return self.finetune is not None and self.finetune.head == ATTENTIVE

    def _comparison(self) -> str:
        """How videos are compared or classified, in words."""
        if self.finetune is not None:
            how = self.finetune
            layers = "a linear layer on the frozen network" if how.frozen else "the whole network"
            if self._attends:
                layers = "an attentive probe on the frozen network"
            chosen = "last epoch" if how.choose == "last" else "best epoch on held-out groups"
            return f"{layers} trained with recipe {how.recipe}, {chosen}, logits averaged"
        features = "standardised features" if self.probe.standardise else "features"
        if self.task == "fewshot":
            all_labels = "of all labels: penalty chosen on held-out groups of the train part"
            return f"logistic regression on {features}, C = {C:g}; {all_labels}"
        if self.task == "linear":
            if self.probe.solver == "sgd":
                return f"linear layer after batch norm on {features}, by SGD, last epoch"
            return (
                f"logistic regression on {features}, penalty chosen on held-out groups of the "
                "train part"
            )
        votes = f", votes weigh exp(cosine / {TEMPERATURE})" if self.task == "knn" else ""
        return f"cosine, exact, centring: {self.centring}{votes}"


def result_path(
    question: Question, subjects: Subjects, dataset: str, split: str | None = None
) -> Path:
    """The JSON file of a result; a picture may be beside it. Its name contains all deviations from
    the default protocol, and the step of a checkpoint that is not the last of its run."""
    changes = _clip_changes(question.protocol, subjects, question.finetune)
    if question.factor:
        changes["factor"] = question.factor
    if question.centring != "none":
        changes["centring"] = question.centring.replace(" ", "-")
    if subjects.milestone:
        changes["step"] = subjects.milestone
    elif not question.baseline:
        changes["baseline"] = "none"
    if question.task in _PROBED:
        probe, usual = question.probe, ProbeSettings()
        for key in ("solver", "standardise"):
            if getattr(probe, key) != getattr(usual, key):
                changes[key] = getattr(probe, key)
    if question.finetune is not None:
        changes |= _classifier_changes(question.finetune, subjects, dataset)
    name = f"{question.task}-{dataset}-split{split or question.split}{_suffix(changes)}.json"
    return subjects.folder / "results" / name


def store_path(subjects: Subjects, dataset: str, subject: Subject, protocol: Protocol) -> Path:
    """The feature store of an encoder on a data set."""
    changes = _clip_changes(protocol, subjects)
    if subjects.milestone and subject.name == TRAINED:
        changes["step"] = subjects.milestone
    suffix = _suffix(changes)
    return subjects.folder / "features" / f"{dataset}-{subject.name}{suffix}.h5"


def _clip_changes(
    protocol: Protocol, subjects: Subjects, settings: FinetuneSettings | None = None
) -> dict[str, Any]:
    """The differences from the default clips of a run, or of a classifier's recipe."""
    usual = protocol_of(subjects.settings)
    before = asdict(protocol_for(usual, settings) if settings else usual)
    return {key: value for key, value in asdict(protocol).items() if value != before[key]}


def _classifier_changes(
    settings: FinetuneSettings, subjects: Subjects, dataset: str
) -> dict[str, Any]:
    """The differences from the default recipe, except those in `_clip_changes`."""
    backbone, recipe = subjects.settings.model.backbone, settings.recipe
    usual = finetune_settings.recipe_for(dataset, backbone, settings.frozen, settings.head)
    is_usual = recipe == usual
    changes: dict[str, Any] = {} if is_usual else {"classifier": recipe}
    if recipe not in finetune_settings.recipes():
        every = {
            k: v for k, v in asdict(settings).items() if k not in finetune_settings.NO_INFLUENCE
        }
        digest = sha256(json.dumps(every, sort_keys=True).encode()).hexdigest()
        return {"classifier": f"{recipe}-{digest[:6]}"}
    before, now = asdict(finetune_settings.load_recipe(recipe)), asdict(settings)
    for key, value in now.items():
        if key in ("test", *finetune_settings.NO_INFLUENCE) or value == before[key]:
            continue
        if isinstance(value, dict):
            changes |= {f"{key}.{k}": v for k, v in value.items() if v != before[key][k]}
        else:
            changes[key] = value
    return changes


def _suffix(changes: dict[str, Any]) -> str:
    """Changes as the end of a file name, such as "_layer-layer3_pooling-max"."""
    words = {k: "-".join(map(str, v)) if isinstance(v, tuple) else v for k, v in changes.items()}
    return "".join(f"_{k}-{v}" for k, v in sorted(words.items())).replace("/", "-")
