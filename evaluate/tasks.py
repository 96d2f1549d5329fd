"""The protocols, put together: an encoder and a data set to a result.

A result is a dictionary, written as JSON to `results/` of the run:

    schema, task, dataset, factor, split    what was asked; split is a name, or "all"
    columns                                 the figures that the table shows, in order
    results                                 {encoder: {figure: value, None: there is none}}; the mean
                                            over the splits where there are several
    spread                                  the same, standard deviation over the splits (n - 1);
                                            None for one split
    splits                                  of every split: test_part, counts (train, test,
                                            unlabelled), results as above, details {encoder: {...}}
    counts                                  of the data set: expected, built, failed by reason
    protocol                                every choice that the figures rest on
    trained_on, settings, code, seconds     where the encoder comes from; the only times are seconds
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.shard import ShardDataset
from evaluate import knn, probe, report, retrieval
from evaluate.errors import EvaluateError
from evaluate.features import Progress, extract
from evaluate.protocol import Protocol
from evaluate.store import Features
from evaluate.subjects import TRAINED, Subject, Subjects
from trainer.provenance import code
from trainer.training_set import describe_splits

SCHEMA = 1
