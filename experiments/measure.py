"""What a network's frozen features tell: recall@1 and a linear probe of the class and of known
factors, and at which stride a clip is played. Recall and probe of the class are those of `ascnet
evaluate`, but for folds."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from builder.progress import silent
from builder.shards.dataset import ShardDataset
from evaluate.errors import EvaluateError
from evaluate.features.encode import Network, Reading, encode
from evaluate.measures import NO_SIBLINGS, linear_of, retrieval_of
from evaluate.probe.probe import LabelledFeatures, ProbeSettings, linear_probe
from evaluate.protocol import Protocol, clips_of
from evaluate.retrieval.cosine import CPU
from evaluate.split import Parts, parts_of
from trainer.config.settings import Device
from trainer.execution import backends

DRAWS = 100  # of few-shot


@dataclass(frozen=True)
class Measures:
    """Which figures of a data set."""

    split: str
    folds: int = 0  # all labelled videos in so many parts of whole groups; 0: the split
    factors: tuple[str, ...] = ()  # known factors of the videos
    choosing: bool = False  # the folds are of the split's training part alone
    shots: int = 0  # few-shot: labelled videos a class; 0: not measured


def features_of(network: Network, dataset: ShardDataset, protocol: Protocol) -> np.ndarray:
    """float32, videos x channels: the mean over a video's clips, as in a feature store."""
    videos = dataset.videos
    clips = clips_of(videos, protocol)
    with backends(Device(), CPU, benchmark=False):  # as for a feature store
        parts = [part for _, part in encode(network, videos, protocol, CPU, Reading(1))]
    features = torch.cat(parts).numpy()
    ends = np.cumsum([len(spans) for spans in clips])[:-1]
    return np.stack([rows.mean(axis=0) for rows in np.split(features, ends)])


def figures_of(
    network: Network, dataset: ShardDataset, protocol: Protocol, measures: Measures
) -> dict[str, float]:
    """Percent by "<data set> <class or factor> <measure>", and "<data set> speed linear": the
    protocol's stride told from twice it. The gallery has no other clips of a query's recording
    where it otherwise would."""
    features = features_of(network, dataset, protocol)
    figures: dict[str, float] = {}
    for factor in ("", *measures.factors):
        folds = _folds(parts_of(dataset, measures.split, factor), measures)
        name = f"{dataset.name} {factor or 'class'}"
        figures[f"{name} recall@1"] = _mean(folds, lambda parts: _recall(features, parts))
        figures[f"{name} linear"] = _mean(folds, lambda parts: _linear(features, parts))
    if shots := measures.shots:
        folds = _folds(parts_of(dataset, measures.split), measures)
        few = _mean(folds, lambda parts: few_shot(features, parts, shots))
        figures[f"{dataset.name} class {shots}-shot"] = few
    fast = features_of(network, dataset, replace(protocol, stride=2 * protocol.stride))
    folds = _folds(parts_of(dataset, measures.split), measures)
    speed = _mean(folds, lambda parts: speed_of([features, fast], parts))
    return figures | {f"{dataset.name} speed linear": speed}


def _recall(features: np.ndarray, parts: Parts) -> float:
    rows = retrieval_of(features, parts, "none", CPU, silent)
    nearest = rows.get(NO_SIBLINGS, rows[""]).figures["recall@1"]
    assert nearest is not None  # there is a gallery of one or more
    return nearest


def _linear(features: np.ndarray, parts: Parts) -> float:
    top1 = linear_of(features, parts, ProbeSettings(), CPU, silent).figures["top1"]
    assert top1 is not None
    return top1


def few_shot(features: np.ndarray, parts: Parts, shots: int) -> float:
    """Percent of test videos whose nearest class, by the cosine of its mean, is their own: the mean
    over DRAWS draws of `shots` training videos of every class. Features (videos x channels) are
    centred by the mean of those drawn, and L2-normalised."""
    rng = np.random.default_rng(0)
    labels = parts.labels[parts.train]
    right = []
    for _ in range(DRAWS):
        drawn = np.concatenate(
            [
                rng.choice(where, min(shots, len(where)), replace=False)
                for where in (parts.train[labels == label] for label in np.unique(labels))
            ]
        )
        rows = features - features[drawn].mean(axis=0)
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        classes = np.unique(parts.labels[drawn])
        means = np.stack([rows[drawn[parts.labels[drawn] == c]].mean(axis=0) for c in classes])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        found = classes[(rows[parts.test] @ means.T).argmax(axis=1)]
        right.append(np.mean(found == parts.labels[parts.test]))
    return 100 * float(np.mean(right))


def _folds(parts: Parts, measures: Measures) -> list[Parts]:
    """The split's own two parts; or all labelled videos, or those of its training part, in `folds`
    parts of whole groups, each the test part in turn. Raises EvaluateError where they are of fewer
    than two groups."""
    folds = measures.folds
    if not folds:
        return [parts]
    labelled = parts.train if measures.choosing else np.flatnonzero(parts.labels >= 0)
    groups, number = np.unique(parts.groups[labelled], return_inverse=True)
    if len(groups) < 2:
        raise EvaluateError(
            f"folds is {folds}, and the {len(labelled)} labelled videos are of {len(groups)} "
            "source groups; a group is held out whole, so it takes two or more. Set folds = 0 to "
            "test the split."
        )
    fold = number % folds
    return [
        replace(parts, train=labelled[fold != number], test=labelled[fold == number])
        for number in np.unique(fold)
    ]


def _mean(folds: list[Parts], percent: Callable[[Parts], float]) -> float:
    """Of all test videos together."""
    return float(
        np.average([percent(parts) for parts in folds], weights=[len(p.test) for p in folds])
    )


def speed_of(features: list[np.ndarray], parts: Parts) -> float:
    """Percent of test videos of which a linear probe tells the speed. `features`: of every speed
    (videos x channels); the same videos at all speeds, so chance is 1 / speeds."""

    def at_all_speeds(positions: np.ndarray) -> LabelledFeatures:
        return LabelledFeatures(
            np.concatenate([rows[positions] for rows in features]),
            np.repeat(np.arange(len(features)), len(positions)),
            np.tile(parts.groups[positions], len(features)).tolist(),
        )

    return linear_probe(at_all_speeds(parts.train), at_all_speeds(parts.test)).top1
