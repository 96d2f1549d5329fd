"""What a network's frozen features tell: recall@1 and a linear probe of the class and of known
factors, and whether a clip is played at 1x or 2x. The figures are those of `ascnet evaluate`."""

from dataclasses import replace

import numpy as np

from builder.shard import ShardDataset
from evaluate import measures
from evaluate.cosine import CPU
from evaluate.encode import Network, encode
from evaluate.parts import Parts, parts_of
from evaluate.probe import ProbeSettings, linear_probe
from evaluate.progress import silent
from evaluate.protocol import Protocol, clips_of

SPEEDS = (1, 2)  # that are told apart: how many times the stride of the protocol


def features_of(network: Network, dataset: ShardDataset, protocol: Protocol) -> np.ndarray:
    """float32, videos x channels: the mean over a video's clips, as in a feature store."""
    videos = dataset.videos
    clips = clips_of(videos, protocol)
    found = np.concatenate(
        [part.numpy() for _, part in encode(network, videos, clips, protocol, CPU, workers=1)]
    )
    ends = np.cumsum([len(own) for own in clips])[:-1]
    return np.stack([own.mean(axis=0) for own in np.split(found, ends)])


def figures_of(
    network: Network,
    dataset: ShardDataset,
    protocol: Protocol,
    split: str,
    factors: tuple[str, ...] = (),
) -> dict[str, float]:
    """Percent by "<data set> <class or factor> <measure>", and "<data set> speed linear". The
    gallery has no other clips of a query's recording where it otherwise would."""
    features = features_of(network, dataset, protocol)
    found: dict[str, float] = {}
    for factor in ("", *factors):
        parts = parts_of(dataset, split, factor)
        name = f"{dataset.name} {factor or 'class'}"
        rows = measures.retrieval_of(features, parts, "none", CPU, silent)
        nearest = rows.get(measures.NO_SIBLINGS, rows[""]).figures["recall@1"]
        linear = measures.linear_of(features, parts, ProbeSettings(), CPU, silent).figures["top1"]
        assert nearest is not None and linear is not None  # there is a gallery of one or more
        found |= {f"{name} recall@1": nearest, f"{name} linear": linear}
    parts = parts_of(dataset, split)
    at_speeds = [
        features
        if speed == 1
        else features_of(network, dataset, replace(protocol, stride=speed * protocol.stride))
        for speed in SPEEDS
    ]
    return found | {f"{dataset.name} speed linear": speed_of(at_speeds, parts)}


def speed_of(features: list[np.ndarray], parts: Parts) -> float:
    """Percent of test videos of which a linear probe tells the speed. `features`: of every speed
    (videos x channels); the same videos at all speeds, so chance is 1 / speeds."""

    def rows(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(len(features)), len(positions))
        return np.concatenate([own[positions] for own in features]), labels

    groups = np.tile(parts.groups[parts.train], len(features)).tolist()
    (train, learnt), (test, wanted) = rows(parts.train), rows(parts.test)
    return linear_probe(train, learnt, groups, test, wanted).top1
