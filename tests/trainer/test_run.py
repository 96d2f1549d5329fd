import shutil

import pytest

from trainer.errors import TrainerError
from trainer.run import must_be_same_data, record_of, shards_of, start_run
from trainer.training_set import gather


def test_what_a_run_writes_down(finished_run, shards):
    assert shards_of(finished_run) == [str(shards)]
    record = record_of(finished_run)
    assert record["counts"][str(shards)]["expected"] == 16
    assert record["code"]


def test_what_is_no_run(tmp_path):
    with pytest.raises(TrainerError, match="is no run: there is no"):
        record_of(tmp_path)


def test_a_run_is_not_overwritten(finished_run, tiny, training_set):
    with pytest.raises(TrainerError, match="holds a run already"):
        start_run(finished_run, tiny, training_set)


def test_resuming_on_other_shards_is_refused(finished_run, shards, tiny, training_set, tmp_path):
    must_be_same_data(finished_run, training_set)
    shutil.copytree(shards, tmp_path / "copy")
    copy = gather({tmp_path / "copy": str(tmp_path / "copy")}, tiny.data)
    start_run(tmp_path / "run", tiny, copy)
    (tmp_path / "copy" / "dataset.json").write_text("{}")
    with pytest.raises(TrainerError, match="was built anew since"):
        must_be_same_data(tmp_path / "run", copy)
    with pytest.raises(TrainerError, match=r"was started on .*folder, not on .*copy"):
        must_be_same_data(finished_run, copy)
