"""Measure a network's frozen features: recall@1 and linear probes of the class and of known
factors, and a linear probe of playback speed. Apart from folds, recall and probe of the class are
those of `ascnet evaluate`."""

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

DRAWS = 100  # draws of labelled videos in few-shot classification


@dataclass(frozen=True)
class Measures:
    """Which figures are measured on a data set.

    Attributes:
        folds: number of cross-validation folds of all labelled videos, with groups kept whole; 0 to
            test the split
        factors: known factors of the videos that are measured besides the class
        choosing: whether the folds are of the split's training part only
        shots: labelled videos per class for few-shot classification; 0 for none
    """

    split: str
    folds: int = 0
    factors: tuple[str, ...] = ()
    choosing: bool = False
    shots: int = 0


def features_of(network: Network, dataset: ShardDataset, protocol: Protocol) -> np.ndarray:
    """Features of all videos, averaged over each video's clips as in a feature store: float32,
    videos x channels."""
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
    """Compute the figures of a data set, in percent: "<data set> <class or factor> <measure>", and
    "<data set> speed linear", which classifies the protocol's stride against twice that stride.
    Videos from the query's own recording are removed from the gallery."""
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
    assert nearest is not None  # the gallery is not empty
    return nearest


def _linear(features: np.ndarray, parts: Parts) -> float:
    top1 = linear_of(features, parts, ProbeSettings(), CPU, silent).figures["top1"]
    assert top1 is not None
    return top1


def few_shot(features: np.ndarray, parts: Parts, shots: int) -> float:
    """Accuracy in percent of a nearest-class-mean classifier (by cosine) on the test videos,
    averaged over DRAWS draws of `shots` training videos of every class. Features (videos x
    channels) are centred by the mean of those drawn, and L2-normalised."""
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
        predicted = classes[(rows[parts.test] @ means.T).argmax(axis=1)]
        right.append(np.mean(predicted == parts.labels[parts.test]))
    return 100 * float(np.mean(right))


def _folds(parts: Parts, measures: Measures) -> list[Parts]:
    """The split's two parts; or, with `folds`, the folds of all labelled videos or of those in its
    training part, with groups kept whole, each fold the test part in turn. Raises EvaluateError for
    fewer than two groups."""
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
    """The mean over the folds, weighted by their numbers of test videos."""
    return float(
        np.average([percent(parts) for parts in folds], weights=[len(p.test) for p in folds])
    )


def speed_of(features: list[np.ndarray], parts: Parts) -> float:
    """Accuracy in percent of a linear probe of playback speed on the test videos. `features`: for
    each speed, those of the same videos (videos x channels), so chance is 1 / number of speeds."""

    def at_all_speeds(positions: np.ndarray) -> LabelledFeatures:
        return LabelledFeatures(
            np.concatenate([rows[positions] for rows in features]),
            np.repeat(np.arange(len(features)), len(positions)),
            np.tile(parts.groups[positions], len(features)).tolist(),
        )

    return linear_probe(at_all_speeds(parts.train), at_all_speeds(parts.test)).top1
