"""A trained classifier that many tests share."""

import pytest

from evaluate.finetune.finetune import Finetuned, FinetuneJob, finetune
from tests.toy_task import CPU, toy_task


@pytest.fixture(scope="session")
def task(dataset) -> FinetuneJob:
    return toy_task(dataset)


@pytest.fixture(scope="session")
def whole(task, tmp_path_factory) -> Finetuned:
    """The result of an uninterrupted training."""
    return finetune(task, CPU, tmp_path_factory.mktemp("whole"))
