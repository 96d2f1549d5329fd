import json
import shutil

import pytest
import torch
from PIL import Image

from builder.build import BuildSettings, How, build
from builder.catalog import folder
from builder.frames import FrameSettings
from evaluate.errors import EvaluateError
from evaluate.report import table
from evaluate.tasks import evaluate

CPU = torch.device("cpu")


@pytest.mark.parametrize("task", ["retrieval", "linear"])
def test_a_result_carries_its_protocol_and_counts(finished_run, shards, task):
    result = evaluate(task, finished_run, shards, "1", CPU)
    assert set(result["results"]) == {"trained", "untrained"}
    counts = result["counts"]
    assert counts["train"] + counts["test"] == 16 and counts["unlabelled"] == 0
    assert counts["dataset"]["expected"] == 16
    assert result["protocol"]["clips"] == 5 and result["protocol"]["stride"] == 2
    written = finished_run / "results" / f"{task}-folder-split1.json"
    assert json.loads(written.read_text()) == json.loads(json.dumps(result))
    text = table(result)
    assert f"{counts['train']} (train part)" in text
    assert "0 of 16 source videos missing" in text
    assert "5 clips x 4 frames, stride 2, centre crop 16" in text


def test_two_runs_same_json_but_for_times(finished_run, shards):
    first = evaluate("retrieval", finished_run, shards, "1", CPU)
    shutil.rmtree(finished_run / "features")
    second = evaluate("retrieval", finished_run, shards, "1", CPU)
    del first["seconds"], second["seconds"]
    assert first == second


def test_retrieval_is_drawn(finished_run, shards):
    evaluate("retrieval", finished_run, shards, "1", CPU)
    picture = Image.open(finished_run / "results" / "retrieval-folder-split1.png")
    assert picture.width == 6 * 160
    assert picture.height % 136 == 0


def test_recall_beyond_the_gallery_is_not_given(finished_run, shards):
    result = evaluate("retrieval", finished_run, shards, "1", CPU)
    assert result["results"]["trained"]["recall@50"] is None
    assert table(result).splitlines()[2].split()[-1] == "-"


def test_a_split_that_cannot_be_tested(finished_run, shards):
    with pytest.raises(
        EvaluateError, match=r"no labelled train videos in split 7; its splits are 1"
    ):
        evaluate("retrieval", finished_run, shards, "7", CPU)


def test_what_was_trained_on_what_travels_with_the_result(finished_run, shards, tiny):
    result = evaluate("linear", finished_run, shards, None, CPU)
    assert result["split"] == "1"
    assert result["trained_on"]["shards"] == [str(shards)]
    assert result["trained_on"]["test_videos_seen"] is False
    assert result["settings"]["optim"]["lr"] == tiny.optim.lr
    assert result["code"] and result["trained_on"]["code"]
    result["trained_on"]["test_videos_seen"] = True
    assert "its training saw test videos" in table(result)


def test_an_unlabelled_data_set(finished_run, make_video, tmp_path):
    for i in range(3):
        make_video(tmp_path / "videos" / f"{i}.avi", frames=4)
    settings = BuildSettings(FrameSettings(short_side=32))
    build(folder.read(tmp_path / "videos"), tmp_path / "out", settings, How(workers=1))
    with pytest.raises(EvaluateError, match="is unlabelled"):
        evaluate("linear", finished_run, tmp_path / "out", "1", CPU)
