"""Carry out one request of `ascnet evaluate`, and print the result."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ascnet.progress import ProgressBar
from ascnet.said_once import say_on
from builder.shards.dataset import ShardDataset
from evaluate import results, tasks
from evaluate.encoders import Subjects
from evaluate.published import lacks, published, text_rows
from evaluate.request import Question, result_path
from evaluate.tasks import Reporters
from trainer.agreement import failing_together, on_first
from trainer.data.frame_size import enlarged
from trainer.distributed import this_rank

_UNITS = {"retrieval": "queries", "knn": "queries"}


@dataclass(frozen=True)
class Measuring:
    """One request on one data set."""

    question: Question
    subjects: Subjects
    dataset: ShardDataset
    device: torch.device
    overwrite: bool

    def of_curve(self) -> dict[str, Any]:
        """Measure one checkpoint of a curve, unless there is a result, and print a line."""
        question, subjects, dataset = self.question, self.subjects, self.dataset
        before = None
        if not self.overwrite:
            before = on_first(lambda: tasks.measured_before(question, subjects, dataset))
        step = f"step {subjects.trained.facts['step']}"
        result = before or self._measure(f"{step}, ")
        first, row = result["columns"][0], result["results"][subjects.trained.name]
        figure = results.figure_text(row.get(first), None)
        said = f"{step}: {results.title(result)}, {first} {figure}"
        say_on(this_rank().number)(said + (" (measured before)" if before else ""))
        return result

    def alone(self) -> dict[str, Any]:
        """Measure, and print the full result."""
        question, dataset = self.question, self.dataset
        say = say_on(this_rank().number)
        small = enlarged(dataset.videos, question.size, question.protocol.short_side)
        if small and question.finetune is not None:
            say(small)  # before hours of training
        result = self._measure()
        say(results.table(result))
        if not question.factor and published(question.task, dataset.name):
            left_out = lacks(dataset.name, len(result["classes"]), result["splits"])
            for line in [left_out] if left_out else text_rows(question.task, dataset.name):
                say(f"  {line}")
        if question.task == "retrieval" and dataset.source:
            say(f"  There is no picture of the results: {tasks.needs_local_shards(dataset)}")
        say(f"  {result_path(question, self.subjects, dataset.name)}")
        return result

    def _measure(self, before: str = "") -> dict[str, Any]:
        """Measure with progress bars; `before` precedes their titles."""
        with ExitStack() as stack:
            if self.question.finetune is None:  # in training, errors are exchanged in another way
                stack.enter_context(failing_together())
            videos, fits, steps = (
                stack.enter_context(ProgressBar(before + title, unit))
                for title, unit in (
                    ("features", "videos"),
                    (self.question.task, _UNITS.get(self.question.task, "fits")),
                    ("training", "steps"),
                )
            )
            return tasks.evaluate(
                self.question,
                self.subjects,
                self.dataset,
                self.device,
                Reporters(videos, fits, steps),
                overwrite=self.overwrite,
            )
