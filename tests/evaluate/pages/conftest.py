import shutil
from pathlib import Path

import pytest

from builder.shards.dataset import ShardDataset
from tests.evaluate.pages.test_pages import fill_store


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """A copy of the shards, for tests that damage them."""
    return shutil.copytree(shards, tmp_path / "shards")


@pytest.fixture
def run_on_copy(finished_run: Path, shards: Path, copy: Path, tmp_path: Path) -> Path:
    """A run trained on `copy`, with features."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = (run / "config.toml").read_text().replace(str(shards), str(copy))
    (run / "config.toml").write_text(config)
    fill_store(run, ShardDataset(copy))
    return run
