import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from PIL import Image

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.shards.dataset import ShardDataset
from evaluate import label_free as label_free_module
from evaluate.choices import ON_THE_FLY
from evaluate.encoders import of_file, of_run
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.finetune.settings import load_recipe, protocol_for
from evaluate.label_free import effective_rank, label_free, lidar
from evaluate.pages import results
from evaluate.probe.linear import Sgd
from evaluate.probe.probe import ProbeSettings
from evaluate.protocol import changed_protocol, protocol_of
from evaluate.request import Question, result_path, store_path
from evaluate.results import table
from evaluate.tasks import evaluate
from tests.evaluate.changed_videos import changed_videos
from trainer.backbones.all_backbones import make_backbone
from trainer.run.trained_videos import TRAINING_VIDEOS_FILE

CPU = torch.device("cpu")
QUICK = ("epochs=2", "batch=4", "lr=0.01")
FLIP = {"train": "test", "test": "train"}


@pytest.fixture
def subjects(finished_run, tmp_path):
    """Of a copy of the run, so that every test begins without results."""
    shutil.copytree(finished_run, tmp_path / "run")
    return of_run(tmp_path / "run")


def question_of(task, tiny, **options) -> Question:
    protocol, settings = protocol_of(tiny), None
    if task in ("finetune", ON_THE_FLY):
        frozen = task == ON_THE_FLY
        settings = load_recipe("demo-linear" if frozen else "demo", QUICK)
        protocol = protocol_for(protocol, settings)
    return replace(Question(task, "1", protocol, finetune=settings), **options)


@pytest.mark.parametrize("task", ["retrieval", "linear", "knn", "finetune", ON_THE_FLY])
def test_a_result_carries_its_protocol_and_counts(subjects, tiny, dataset, task):
    question = question_of(task, tiny)
    result = evaluate(question, subjects, dataset, CPU)
    names = ["trained", "untrained", "calibrated"]  # end to end has statistics of its own
    assert list(result["results"]) == (names[:2] if task == "finetune" else names)
    assert set(result["results"]["trained"]) == set(result["columns"])
    assert result["splits"]["1"]["counts"] == {"train": 12, "test": 4, "unlabelled": 0}
    assert result["counts"]["expected"] == 16
    assert len(result["splits"]["1"]["details"]["trained"]["predictions"]) == 4
    assert result["protocol"]["layer"] == "last" and result["protocol"]["stride"] == 2
    assert len(result["protocol"]["checkpoint_sha256"]) == 64
    written = result_path(question, subjects, "folder")
    assert written.name.startswith(f"{task}-folder-split1")
    assert json.loads(written.read_text()) == json.loads(json.dumps(result))
    text = table(result)
    assert "12 (training set)" in text and "4 (test set)" in text
    assert "0 of 16 source videos missing" in text
    assert "4 frames, stride 2, " in text and "layer last, average-pooled" in text


def test_a_result_has_what_features_say_without_labels(subjects, tiny, dataset):
    question = question_of("knn", tiny)
    details = evaluate(question, subjects, dataset, CPU)["splits"]["1"]["details"]
    for subject in (subjects.trained, subjects.untrained):
        stored = Features(store_path(subjects, dataset.name, subject, question.protocol))
        scores = details[subject.name]["label_free"]
        assert scores == label_free(stored)
        assert scores["effective_rank"] == pytest.approx(effective_rank(stored.features))
        assert scores["lidar"] == lidar(stored.clip_features, stored.clip_video)
    assert details["trained"]["label_free"] != details["untrained"]["label_free"]


def test_features_of_too_many_clips_are_not_read_for_scores(subjects, tiny, dataset, monkeypatch):
    monkeypatch.setattr(label_free_module, "MOST_NUMBERS", 10)
    monkeypatch.setattr(Features, "clip_features", None)
    details = evaluate(question_of("knn", tiny), subjects, dataset, CPU)["splits"]["1"]["details"]
    scores = details["trained"]["label_free"]
    assert scores["alignment"] is None and scores["lidar"] is None
    assert scores["effective_rank"] > 1 and scores["uniformity"] < 0


def test_few_labels_have_a_spread_over_the_draws(subjects, tiny, shards, monkeypatch):
    """And over the splits, where there are several."""
    for module in ("probe.few_labels", "request"):
        monkeypatch.setattr(f"evaluate.{module}.DRAWS", 3)
    dataset = changed_videos(
        shards,
        lambda i, v: {
            "splits": v.splits | {"2": v.splits["1"]},
            "factors": {"chance": i % 3},
        },
    )
    dataset.splits = lambda: {"1": {"train", "test"}, "2": {"train", "test"}}
    question = question_of("fewshot", tiny, factor="chance")
    result = evaluate(question, subjects, dataset, CPU)
    assert result["columns"][:2] == ["1-shot", "2-shot"] and result["columns"][-1] == "all"
    draws = result["splits"]["1"]["details"]["trained"]["draws"]["1-shot"]
    assert len(draws) == 3 and len(set(draws)) > 1
    assert result["results"]["trained"]["1-shot"] == pytest.approx(statistics.fmean(draws))
    assert result["spread"]["trained"]["1-shot"] == pytest.approx(statistics.stdev(draws))
    assert result["spread"]["trained"].get("all") is None
    assert result["results"]["trained"]["16-shot"] is None
    assert result["protocol"]["labels"] == {
        "amounts": result["columns"][:-1],
        "draws": 3,
        "seed": 0,
        "C": 1.0,
    }
    path = result_path(question, subjects, "folder")
    assert json.loads(path.read_text()) == json.loads(json.dumps(result))
    text = table(result)
    assert "Few labels on folder (chance), split 1 (%)" in text and " ± " in text
    assert "3 draws by source recording, mean ± standard deviation over the draws" in text
    assert text.count("16-shot left out: class") == 1
    page_table = results.read_results(subjects.folder).tables[0]
    assert "16-shot left out: class" in page_table.counts
    assert " ± " in page_table.rows[0].cells[0].text
    both = evaluate(replace(question, split="all", baseline=False), subjects, dataset, CPU)
    assert both["spread"]["trained"]["1-shot"] == 0  # the two splits are the same
    assert both["splits"]["2"]["spread"]["trained"]["1-shot"] == statistics.stdev(draws)
    assert "standard deviation over the splits" in table(both)


@pytest.mark.parametrize("task", ["retrieval", "linear", "knn"])
def test_two_runs_same_json_but_for_times(subjects, tiny, dataset, task):
    contents = []
    for _ in range(2):
        evaluate(question_of(task, tiny), subjects, dataset, CPU)
        path = subjects.folder / "results" / f"{task}-folder-split1.json"
        contents.append(json.loads(path.read_text()) | {"seconds": 0})
        for made in ("features", "results"):
            shutil.rmtree(subjects.folder / made)
    assert contents[0] == contents[1]


def test_all_splits_mean_and_spread(subjects, tiny, shards):
    """Of a factor that nothing tells: the splits differ."""
    dataset = changed_videos(
        shards,
        lambda i, v: {
            "splits": v.splits | {"2": FLIP[v.splits["1"]]},
            "factors": {"chance": i * 7 % 5 % 2},
        },
    )
    dataset.splits = lambda: {"1": {"train", "test"}, "2": {"train", "test"}, "3": {"train"}}
    question = question_of("retrieval", tiny, split="all", factor="chance")
    result = evaluate(question, subjects, dataset, CPU)
    assert list(result["splits"]) == ["1", "2"]
    one, two = (split["results"]["trained"]["mAP"] for split in result["splits"].values())
    assert one != two and result["results"]["trained"]["mAP"] == pytest.approx((one + two) / 2)
    assert result["spread"]["trained"]["mAP"] == pytest.approx(abs(one - two) / 2**0.5)
    assert result["results"]["trained"]["recall@5"] is None  # only 4 in the gallery of split 2
    assert "mean of splits 1, 2" in table(result) and " ± " in table(result)
    assert result["trained_on"]["test_videos_seen"]
    assert result["trained_on"]["test_videos_seen_number"] == 12  # of split 2
    assert "its training saw 12 of the test videos" in table(result)


def test_siblings_in_the_gallery_give_a_row_without_them(subjects, tiny, shards):
    dataset = changed_videos(shards, lambda i, v: {"group": str(i % 3)})
    result = evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    assert list(result["results"]) == [
        "trained",
        "trained, no siblings",
        "untrained",
        "untrained, no siblings",
        "calibrated",
        "calibrated, no siblings",
    ]
    assert result["splits"]["1"]["details"]["trained"]["queries_with_siblings"] == 4


def test_queries_that_nothing_can_be_found_for_are_counted(subjects, tiny, shards):
    """Recall and mAP of a row are over the same queries; a row of none has no figures."""
    for groups, left in (({"bars": "a"}, "2 of 4"), ({"bars": "a", "test": "a"}, "4 of 4")):
        dataset = changed_videos(
            shards, lambda i, v, groups=groups: {"group": groups.get(v.class_name, v.group)}
        )
        result = evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
        row, details = (
            one["trained, no siblings"]
            for one in (result["results"], result["splits"]["1"]["details"])
        )
        assert f"no siblings: {left} queries left out: no video of their class" in table(result)
        assert details["left_out"] == int(left[0])
        if left == "4 of 4":
            assert set(row.values()) == {None}
        else:  # the two of class test, all other videos being of their class
            assert row["recall@1"] == row["recall@10"] == row["mAP"] == 100


@pytest.mark.parametrize("task", ["retrieval", "linear", "knn"])
@pytest.mark.parametrize("every", [False, True])
def test_classes_that_the_train_part_has_not(subjects, tiny, shards, task, every):
    others = {"1": "train"} if every else None
    dataset = changed_videos(
        shards,
        lambda i, v: {"splits": {"1": "test"} if v.class_name == "bars" else others or v.splits},
    )
    result = evaluate(question_of(task, tiny), subjects, dataset, CPU)
    tested, text = (0 if every else 2), table(result)
    counts = result["splits"]["1"]["counts"]
    assert counts["class_not_in_train"] == 8 and counts["test"] == tested
    assert f"8 of {8 + tested} {'queries' if task == 'retrieval' else 'test videos'} left" in text
    assert "left out: the training set has none of their class" in text
    table_of_page = results.read_results(subjects.folder).tables
    assert f"8 of {8 + tested} " in table_of_page[0].counts
    first = result["results"]["trained"][result["columns"][0]]
    assert first == (None if every else None if task == "knn" else 100)
    assert len(result["splits"]["1"]["details"]["trained"]["predictions"]) == tested


def test_other_protocols_have_files_of_their_own(subjects, tiny, dataset):
    evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    other = changed_protocol(protocol_of(tiny), ("layer=layer3", "pooling=max"))
    evaluate(
        question_of("retrieval", tiny, protocol=other, centring="own mean"), subjects, dataset, CPU
    )
    names = {path.name for path in (subjects.folder / "results").glob("*.json")}
    assert names == {
        "retrieval-folder-split1.json",
        "retrieval-folder-split1_centring-own-mean_layer-layer3_pooling-max.json",
    }
    assert (subjects.folder / "features" / "folder-trained_layer-layer3_pooling-max.h5").is_file()


def test_a_factor_and_no_baseline(subjects, tiny, shards):
    dataset = changed_videos(shards, lambda i, v: {"factors": {"tempo": i % 3}})
    question = question_of("linear", tiny, factor="tempo", baseline=False)
    result = evaluate(question, subjects, dataset, CPU)
    assert list(result["results"]) == ["trained"]
    assert result["classes"] == ["0", "1", "2"]
    assert "folder (tempo), split 1" in table(result)


def test_a_store_of_other_settings_is_refused(subjects, tiny, dataset):
    evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    store = subjects.folder / "features" / "folder-trained.h5"
    store.write_bytes(store.read_bytes()[:1000])
    with pytest.raises(EvaluateError, match="is damaged"):
        evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    evaluate(question_of("retrieval", tiny), subjects, dataset, CPU, overwrite=True)


def test_retrieval_is_drawn_and_recall_ends_with_the_gallery(subjects, tiny, shards, dataset):
    """What was trained on travels with the result."""
    result = evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    picture = Image.open(subjects.folder / "results" / "retrieval-folder-split1.png")
    assert picture.width == 6 * 160 and picture.height % 136 == 0
    assert result["results"]["trained"]["recall@50"] is None
    assert table(result).splitlines()[2].split()[-2] == "-"
    assert result["trained_on"]["shards"] == [str(shards)]
    assert result["trained_on"]["test_videos_seen"] is False
    assert result["settings"]["optim"]["lr"] == tiny.optim.lr
    assert result["code"] and result["trained_on"]["code"]


def test_an_unlabelled_data_set(subjects, tiny, make_video, tmp_path):
    for i in range(3):
        make_video(tmp_path / "videos" / f"{i}.avi", frames=4)
    settings = BuildSettings(FrameSettings(short_side=32))
    build(folder.read(tmp_path / "videos"), tmp_path / "out", settings, How(workers=1))
    with pytest.raises(EvaluateError, match="is unlabelled"):
        evaluate(question_of("linear", tiny), subjects, ShardDataset(tmp_path / "out"), CPU)


def test_the_calibrated_network_stands_beside_the_untrained_one(
    subjects, tiny, dataset, monkeypatch
):
    result = evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    details = result["splits"]["1"]["details"].values()
    assert len({own["label_free"]["uniformity"] for own in details}) == 3
    said = (
        "untrained: random initialisation (same seed); calibrated: untrained, batch-norm statistics"
    )
    assert said in table(result)
    monkeypatch.setattr("evaluate.encoders.batch_norm_statistics", None)
    again = evaluate(question_of("knn", tiny), subjects, dataset, CPU)  # its store is there
    assert again["splits"]["1"]["details"]["calibrated"]["label_free"]
    subjects.record["shards_sha256"] = ["0" * 64]  # as if other shards were there now
    without = evaluate(question_of("knn", tiny), subjects, dataset, CPU)
    assert list(without["results"]) == ["trained", "untrained"]
    said = "calibrated (untrained, batch-norm statistics of training clips) is left out: The shards"
    assert said in table(without)
    tables = results.read_results(subjects.folder).tables
    assert [said in own.missing for own in tables] == [False, True]  # retrieval, knn


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("split, number", [("2", 12), ("3", 0)])
def test_moved_shards_are_known_again(subjects, tiny, shards, tmp_path, is_old, split, number):
    """Training saw test videos of split 2, wherever its shards lie now, and none of split 3."""
    if is_old:
        (subjects.folder / TRAINING_VIDEOS_FILE).unlink()
    shutil.copytree(shards, tmp_path / "moved")
    dataset = changed_videos(
        tmp_path / "moved",
        lambda i, v: {"splits": {"2": FLIP[v.splits["1"]], "3": v.splits["1"]}},
    )
    result = evaluate(question_of("knn", tiny, split=split), subjects, dataset, CPU)
    assert result["trained_on"]["test_videos_seen"] is (number > 0)
    assert result["trained_on"]["test_videos_seen_number"] == number
    assert ("Careful" in table(result)) == (number > 0)


@pytest.mark.parametrize("is_old", [False, True])
def test_videos_that_are_built_anew_are_known_again(
    subjects, tiny, video_folder, shards, tmp_path, is_old
):
    """At another short side, under other names, in another folder, tested where it was trained."""
    if is_old:
        (subjects.folder / TRAINING_VIDEOS_FILE).unlink()
    rows = ["video,split"]
    for video in ShardDataset(shards).videos:
        name = f"{video.class_name}/other_{Path(video.name).name}"
        (tmp_path / "v" / video.class_name).mkdir(parents=True, exist_ok=True)
        shutil.copy(video_folder / video.name, tmp_path / "v" / name)
        rows.append(f"{name},{FLIP[video.splits['1']]}")
    (tmp_path / "v" / "splits.csv").write_text("\n".join(rows))
    catalog = replace(folder.read(tmp_path / "v"), dataset="mine")
    build(catalog, tmp_path / "mine", BuildSettings(FrameSettings(short_side=48)), How(workers=1))
    result = evaluate(question_of("knn", tiny), subjects, ShardDataset(tmp_path / "mine"), CPU)
    assert result["trained_on"]["test_videos_seen_number"] == 12
    assert "its training saw 12 of the test videos" in table(result)


def test_what_an_old_run_saw_is_not_known_without_its_shards(subjects, tiny, dataset):
    (subjects.folder / TRAINING_VIDEOS_FILE).unlink()
    subjects.record["shards_sha256"] = ["0" * 64]
    result = evaluate(question_of("knn", tiny), subjects, dataset, CPU)
    assert result["trained_on"]["test_videos_seen"] is None
    assert "may include test videos" in table(result)


def test_settings_of_a_classifier_are_in_the_file_name(subjects, tiny):
    usual = load_recipe("demo")
    recipes = (
        usual,
        load_recipe("demo", ("lr=0.25", "workers=1", "augment.flip=0.0")),
        load_recipe("ucf101-r3d18"),
        replace(usual, recipe="mine"),
        replace(usual, recipe="mine", lr=0.5),
    )
    paths = [
        result_path(question_of("finetune", tiny, finetune=recipe), subjects, "folder").stem
        for recipe in recipes
    ]
    start = "finetune-folder-split1"
    assert paths[:2] == [start, f"{start}_augment.flip-0.0_lr-0.25"]
    assert "_classifier-ucf101-r3d18" in paths[2]
    assert "_classifier-mine" in paths[3] and "_classifier-mine" in paths[4]
    assert paths[3] != paths[4]  # a file of the user's may say anything


def test_the_picture_is_of_the_result(subjects, tiny, shards, monkeypatch):
    """With a factor and a centring: frames are coloured by the factor, in the centred order."""
    dataset = changed_videos(shards, lambda i, v: {"factors": {"tempo": i % 2}})
    drawn = []

    def grid(rows):
        drawn.extend(rows)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr("evaluate.retrieval.grid.retrieval_grid", grid)
    question = question_of("retrieval", tiny, factor="tempo", centring="own mean")
    result = evaluate(question, subjects, dataset, CPU)
    assert {shown.label for row in drawn for shown in (row[0], *row[1])} == {"0", "1"}
    nearest = [int(found[0].label) for _, found in drawn]
    assert nearest == result["splits"]["1"]["details"]["trained"]["predictions"]


def test_figures_stay_when_the_picture_cannot_be_drawn(subjects, tiny, dataset, monkeypatch):
    def grid(rows):
        raise OSError("cannot identify image file")

    monkeypatch.setattr("evaluate.retrieval.grid.retrieval_grid", grid)
    with pytest.raises(EvaluateError, match=r"figures are in .*json, but the picture"):
        evaluate(question_of("retrieval", tiny), subjects, dataset, CPU)
    assert (subjects.folder / "results" / "retrieval-folder-split1.json").is_file()


def test_the_words_of_the_probe(subjects, tiny, dataset):
    sgd = question_of("linear", tiny, probe=ProbeSettings(solver="sgd", sgd=Sgd(epochs=2)))
    text = table(evaluate(sgd, subjects, dataset, CPU))
    assert "by SGD, last epoch" in text and "held-out" not in text
    assert (subjects.folder / "results" / "linear-folder-split1_solver-sgd.json").is_file()


def test_weights_of_a_file(tiny, dataset, tmp_path):
    weights = make_backbone("r3d-tiny").state_dict()
    safetensors.torch.save_file(weights, tmp_path / "mine.safetensors")
    subjects = of_file(tmp_path / "mine.safetensors", None, None, tmp_path / "runs")
    result = evaluate(question_of("knn", tiny), subjects, dataset, CPU)
    assert result["trained_on"]["weights"] == str(tmp_path / "mine.safetensors")
    assert "untrained: random initialisation" in table(result)
    assert "may include test videos" in table(result)
    assert (tmp_path / "runs" / "weights-mine" / "results").is_dir()
