"""A run's counts that are none are one sentence on the way to its page."""

import shutil

import pytest

from evaluate.counts import are_counts
from tests.commands import refused


@pytest.mark.parametrize(
    "value",
    [
        "x",
        [],
        {"built": "x"},
        {"built": -1},
        {"built": {"a": 1}},
        {"failed": 1},
        {"built": 1 << 70},
    ],
)
def test_what_is_no_count(value):
    assert not are_counts(value)


def test_what_a_build_counts(dataset):
    assert are_counts(dataset.counts)
    assert are_counts({"built": 3, "failed": {"truncated": 2}, "warnings": {}})


@pytest.mark.parametrize("value", ['"x"', "[1]", "{a = 1}", "-1", "1.5", "true"])
def test_a_page_about_a_run(value, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    text = (run / "config.toml").read_text()
    assert "training_videos = 12" in text
    (run / "config.toml").write_text(text.replace("videos = 12", f"videos = {value}"))
    said = refused("report", run, cwd=tmp_path)
    assert "config.toml cannot be read: the counts of its data sets are not numbers" in said
