"""`ascnet train --probe-every N`: recall@1 and kNN accuracy on held-out groups of the training
videos during training. Labels are used for these figures only."""

import numpy as np
import torch

from builder.progress import silent
from evaluate.features.encode import Pooled, Reading, encode
from evaluate.measures import knn_of, retrieval_of
from evaluate.protocol import Protocol, clips_of, protocol_of
from evaluate.split import Parts
from trainer.backbones.base import Backbone
from trainer.config.settings import Config
from trainer.data.streaming.transport import is_remote
from trainer.data.training_set import TrainingSet
from trainer.errors import TrainerUsageError
from trainer.probing import Probing

MOST_VIDEOS = 2000  # labelled videos used, evenly spaced
MOST_CLIPS = 4  # clips per video
HELD_OUT = 5  # every fifth source group gives queries
RECALL, VOTE = "probe_recall@1", "probe_knn@10"


def training_probe(
    every: int, settings: Config, data: TrainingSet, device: torch.device
) -> Probing | None:
    """The probe for a training; None if there are no labels, or too few groups to hold some out.
    Raises TrainerError for streamed shards, whose videos cannot be read one by one."""
    if any(is_remote(source) for source in data.sources.values()):
        raise TrainerUsageError(
            "--probe-every reads videos one by one, and these shards are streamed. Omit it, or "
            "copy the shards to a folder."
        )
    labels = np.array(data.labels)
    labelled = np.flatnonzero(labels >= 0)
    some = labelled[np.linspace(0, len(labelled) - 1, min(MOST_VIDEOS, len(labelled))).astype(int)]
    groups = np.array(data.groups)[some]
    held_out = np.unique(groups)[::HELD_OUT]
    is_query = np.isin(groups, held_out)
    known = np.isin(labels[some], labels[some][~is_query])
    if not (is_query & known).any():
        return None
    videos = [data.videos[i] for i in some]
    parts = Parts(
        split=settings.data.split,
        test_part="held-out groups of train",
        train=np.flatnonzero(~is_query),
        test=np.flatnonzero(is_query & known),
        labels=labels[some],
        groups=groups,
        classes=(),
        unlabelled=0,
    )
    protocol = protocol_of(settings)
    protocol = Protocol(**vars(protocol) | {"clips": min(MOST_CLIPS, protocol.clips)})
    ends = np.cumsum([len(of_video) for of_video in clips_of(videos, protocol)])[:-1]

    def look(backbone: Backbone) -> dict[str, float]:
        was_training = backbone.training
        network = Pooled(backbone).eval()
        try:
            reading = Reading(settings.data.workers)
            units = [part for _, part in encode(network, videos, protocol, device, reading)]
        finally:
            backbone.train(was_training)
        of_videos = np.split(torch.cat(units).numpy(), ends)
        features = np.stack([rows.mean(axis=0) for rows in of_videos])
        cpu = torch.device("cpu")
        recall = retrieval_of(features, parts, "none", cpu, silent)[""].figures["recall@1"]
        vote = knn_of(features, parts, "none", cpu, silent).figures["knn@10"]
        figures = {RECALL: recall, VOTE: vote}
        return {name: value / 100 for name, value in figures.items() if value is not None}

    return Probing(every, look)
