"""The page about a run, as files and text."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from builder.shards.manifest import VIDEOS_FILE, fingerprint
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.features.store_writer import Origin, StoreWriter
from evaluate.pages.curves import read_training
from evaluate.pages.report import make_report, write_report
from evaluate.pages.results import read_results
from tests.page_reader import Page

BAD = "<script>alert('x')</script>\"&"


def fill_store(
    run: Path, dataset, videos=None, name: str = "folder-trained.h5", encoder: str = "trained"
) -> Path:
    """A store whose features tell classes apart, but for one video."""
    videos = videos or dataset.videos
    path = run / "features" / name
    identity = {
        "encoder": encoder,
        "dataset": dataset.name,
        "step": 8,
        "dataset_counts": json.dumps(dataset.counts),
        "dataset_sha256": fingerprint(dataset.folder),
    }
    spans = [[(0, video.frames - 1)] for video in videos]
    store = StoreWriter(path, videos, spans, 6, identity, Origin(str(dataset.folder), "1.2", {}))
    features = np.random.default_rng(0).normal(size=(len(videos), 6)).astype(np.float32)
    features[np.arange(len(videos)), [(v.label or 0) for v in videos]] += 9
    features[0] = -features[0]
    store.write(range(len(videos)), features)
    store.close()
    return path


def write_result(run: Path, name: str = "retrieval-ucf101.json", **changes: object) -> None:
    figures = {"trained": {"recall@1": 50.0, "recall@5": 75.5, "recall@50": None}}
    figures["untrained"] = {"recall@1": 25.0, "recall@5": 40.0, "recall@50": None}
    spread = {name: dict.fromkeys(figures["trained"], 1.5) for name in figures}
    counts = {"train": 9537, "test": 3783, "unlabelled": 1}
    split = {"test_part": "test", "counts": counts, "results": figures, "details": {}}
    second = split | {"counts": {"train": 9586, "test": 3734, "unlabelled": 0}}
    result = {
        "schema": 1,
        "task": "retrieval",
        "dataset": "ucf101",
        "factor": None,
        "split": "all",
        "columns": list(figures["trained"]),
        "results": figures,
        "spread": spread,
        "splits": {"1": split, "2": second},
        "classes": [f"class {i}" for i in range(101)],
        "counts": {"expected": 17, "built": 16, "failed": {"truncated": 1}},
        "protocol": {"clips": 10, "layer": BAD},
        "trained_on": {"split": "1", "test_videos_seen": True},
        "settings": {},
        "code": "0.1.0",
        "seconds": 1.0,
    }
    (run / "results").mkdir(exist_ok=True)
    (run / "results" / name).write_text(json.dumps(result | changes))


@pytest.fixture
def run(finished_run: Path, dataset, tmp_path: Path) -> Path:
    """A copy of a finished run, with features and results."""
    run = tmp_path / "a run"
    shutil.copytree(finished_run, run)
    fill_store(run, dataset)
    write_result(run)
    return run


def read(run: Path) -> Page:
    page = Page(make_report(run))
    page.check()
    return page


def test_a_whole_page(run, tmp_path):
    path = write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    page.check()
    heads = [text for _, text in page.headings]
    assert heads[0] == "a run"
    wanted = ["Results", "Training", "Features of folder", "What is found", "Classes", "Map"]
    assert [text for text in heads if text in [*wanted, "Data"]] == [
        *wanted,
        "Data",
    ]
    assert "r3d-tiny trained without labels on" in page.text
    assert "8 of 8 steps" in page.text
    assert "folder: 16 of 16 videos built, 12 for training" in page.text
    assert "All settings (config.toml)" in page.text and "bank 32" in page.text
    assert not page.all("div", **{"class": "missing"})
    assert write_report(run, tmp_path / "deep" / "b.html").read_bytes() == path.read_bytes()


def test_results_with_spread_baseline_splits_and_published_figures(run):
    page = read(run)
    assert ["trained", "50.0 ± 1.5", "75.5 ± 1.5", "–", "this run"] in page.rows
    assert any(row[:2] == ["untrained", "25.0 ± 1.5"] for row in page.rows)
    assert any(row[0].startswith("published, not ours") for row in page.rows)
    assert any(row[0].startswith("RSPNet, C3D") and row[1] == "36.0" for row in page.rows)
    assert ["2", "trained", "50.0", "75.5", "–"] in page.rows
    assert "split 1: gallery 9537, queries 3783 (test part), 1 unlabelled left out" in page.text
    assert "1 of 17 source videos missing" in page.text
    assert "its training saw test videos" in page.text
    assert BAD in page.text  # the protocol, escaped


def test_titles_name_what_differs_from_the_default_protocol(run):
    write_result(run, "retrieval-ucf101-split1_layer-layer3_pooling-max.json", split="1")
    titles = [text for _, text in read(run).headings]
    assert any(text.endswith(", layer layer3, pooling max") for text in titles)


def test_a_result_of_an_earlier_checkpoint_says_so_and_does_not_lead(run):
    write_result(run, "retrieval-ucf101-split1.json", split="1", protocol={"step": 500})
    write_result(run, "linear-ucf101-split1.json", task="linear", protocol={"step": 2000})
    results = read_results(run)
    tables = {
        table.file.split("-")[0]: table for table in results.tables if "-split1" in table.file
    }
    assert tables["linear"].leads and not tables["retrieval"].leads
    said = "Of the checkpoint of step 500; the newest result is of step 2000."
    assert said in tables["retrieval"].warning and said not in tables["linear"].warning
    assert said in read(run).text


def test_published_figures_stand_only_beside_a_whole_data_set(run):
    few = {"1": {"test_part": "test", "counts": {"train": 14, "test": 8}, "results": {}}}
    write_result(run, splits=few, split="1", spread=None)
    write_result(run, "a2.json", splits=few, split="1", spread=None)
    page = read(run)
    assert not any(row[0].startswith("published") for row in page.rows if row)
    said = (
        "Published figures are left out, as this is not the whole of ucf101: 14 of 9537 videos in "
        "the train part of split 1; 8 of 3783 videos in the test part of split 1."
    )
    assert page.text.count(said) == 1  # for both tables


def test_published_figures_stand_once(run):
    write_result(run, "retrieval-ucf101-split1.json", split="1", spread=None)
    page = read(run)
    assert sum(row[0].startswith("published, not ours") for row in page.rows) == 1


def test_published_figures_stand_with_classes_not_with_a_factor(run):
    write_result(run, "a.json", factor="tempo")
    rows = [row[0] for row in read(run).rows if row]
    assert rows.index("trained") < rows.index("RSPNet, C3D, Kinetics-400")
    titles = [text for _, text in read(run).headings if text.startswith("Retrieval on")]
    assert titles == [
        "Retrieval on ucf101, mean of 2 splits",
        "Retrieval on ucf101, tempo, mean of 2 splits",
    ]
    (run / "results" / "retrieval-ucf101.json").unlink()
    assert not any(row[0].startswith("published") for row in read(run).rows if row)


def test_a_probe_on_augmented_clips_has_a_title_and_published_figures(run):
    figures = {"trained": {"top1": 50.0}, "untrained": {"top1": 9.0}}
    own = {"test_part": "test", "counts": {"train": 9537, "test": 3783}, "results": figures}
    changes = {"columns": ["top1"], "results": figures, "split": "1", "spread": None}
    changes["splits"] = {"1": own}
    write_result(run, "b.json", task="linear-on-the-fly", **changes)
    page = read(run)
    heads = [text for _, text in page.headings]
    assert "Linear probe on augmented clips on ucf101, split 1" in heads
    assert ["TCLR, R3D-18, UCF-101", "69.9", "TCLR README; split not noted; RGB"] in page.rows
    write_result(run, "c.json", task="linear", **changes)
    page = read(run)
    assert sum(row[0].startswith("TCLR") and row[1] == "69.9" for row in page.rows) == 1


def test_few_labels_are_a_curve(run):
    """Of the amounts that there are; with the figure of all labels, and what is drawn."""
    columns = ["1-shot", "2-shot", "4-shot", "8-shot", "10%", "all"]
    figures = {
        name: dict(zip(columns, [first, 30.0, 40.0, None, 45.0, 50.0], strict=True))
        for name, first in (("trained", 20.0), ("untrained", 10.0))
    }
    spread = {name: {"1-shot": 2.5} for name in figures}
    own = {"test_part": "test", "counts": {}, "results": figures, "details": {}, "spread": spread}
    changes = {"columns": columns, "results": figures, "spread": spread, "protocol": {}}
    write_result(run, "f.json", task="fewshot", dataset="folder", splits={"1": own}, **changes)
    page = read(run)
    assert ["trained", "20.0 ± 2.5", "30.0", "40.0", "–", "45.0", "50.0"] in page.rows
    assert "standard deviation over the draws" in page.text
    (curve,) = (
        label
        for found in page.all("svg", role="img")
        if (label := found["aria-label"]).startswith("Accuracy by labels")
    )
    assert "trained: 20.0 % at labels per class 1, 40.0 % at labels per class 4" in curve
    assert "untrained: 10.0 %" in curve and "trained, all labels: 50.0 %" in curve
    write_result(
        run, "f.json", task="fewshot", dataset="folder", splits={"1": own, "2": own}, **changes
    )
    page = read(run)
    assert ["2", "trained", "20.0 ± 2.5", "30.0", "40.0", "–", "45.0", "50.0"] in page.rows
    assert "standard deviation over the splits" in page.text


def test_the_curve_of_a_run(run):
    """A milestone is a point of the curve, and no table of its own unless it is alone."""
    scores = {"effective_rank": 4.25, "alignment": None, "uniformity": -1.5, "lidar": None}

    def write(name: str, step: int, *rows: str, **protocol: object) -> None:
        figures = {row: {"knn@10": 10.0 * step} for row in ("trained", *rows)}
        own = {"counts": {}, "details": {row: {"label_free": scores} for row in figures}}
        changes = {"columns": ["knn@10"], "results": figures, "split": "1", "splits": {"1": own}}
        facts = {"step": step, "clips": 5, "checkpoint_sha256": str(step)} | protocol
        write_result(
            run, name, task="knn", dataset="folder", spread=None, protocol=facts, **changes
        )

    write("knn.json", 8, "untrained", "calibrated")
    write("knn_step-4.json", 4, milestone=4)
    write("knn_layer_step-4.json", 4, milestone=4, layer="layer3")
    page = read(run)
    heads = [text for _, text in page.headings]
    assert "The curve of the run on folder, split 1" in heads
    assert sum("votes" in text or "k nearest" in text for text in heads) == 2
    assert "k nearest neighbours vote on folder, split 1, step 4" in heads  # of layer3, alone
    assert ["4", "40.0", "4.2", "-1.500"] in page.rows and [
        "8",
        "80.0",
        "4.2",
        "-1.500",
    ] in page.rows
    labels = [found["aria-label"] for found in page.all("svg", role="img")]
    assert "Figures by step. knn@10: 80.0 % at step 0, 80.0 % at step 8." in labels
    assert "Step 0: calibrated." in page.text
    assert "Uniformity. uniformity: -1.500 at step 0, -1.500 at step 8." in labels
    assert "Scores without labels on folder" in heads
    (rank,) = (row for row in page.rows if row and row[0] == "effective rank")
    assert rank[1:4] == ["4.2"] * 3 and "higher is richer" in rank[4]
    assert "calibrated untrained, batch-norm statistics of training clips" in page.text
    assert "untrained 80.0, calibrated 80.0" in page.text  # below the headline


def test_figures_of_some_steps_of_a_training_are_joined(tmp_path):
    rows = [{"step": step, "steps": 6, "loss": 1.0} for step in range(1, 7)]
    for step, recall in ((3, 0.25), (6, 0.5)):
        rows[step - 1] |= {"probe_recall@1": recall, "probe_knn@10": 0.125}
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    loss, probe = read_training(tmp_path).charts
    assert loss.x == [1, 2, 3, 4, 5, 6] and probe.x == [3, 6]
    assert probe.title == "Held-out groups of the training videos"
    assert [line.values for line in probe.lines] == [[25.0, 50.0], [12.5, 12.5]]


def test_where_our_own_figures_come_from(run):
    figures = {name: {"recall@1": 50.0} for name in ("trained", "trained, no siblings")}
    own = {"test_part": "test", "counts": {"train": 9537, "test": 3783}, "results": figures}
    write_result(run, columns=["recall@1"], results=figures, spread=None, splits={"1": own})
    page = read(run)
    assert ["trained, no siblings", "50.0", "this run"] in page.rows
    assert "randomly initialised" not in page.text and "untrained" not in page.text
    write_result(run, trained_on={"weights": "/some/r3d.pth", "loaded": "all"})
    page = read(run)
    assert ["trained", "50.0 ± 1.5", "75.5 ± 1.5", "–", "these weights"] in page.rows
    ours = next(row for row in page.rows if row[0] == "untrained")
    assert ours[-1] == "a randomly initialised network"
    for digest in ("", "4d7a"):  # without and with --init
        write_result(run, trained_on={"shards": ["shards/ucf101"], "init_sha256": digest})
        page = read(run)
        ours = next(row for row in page.rows if row[0] == "untrained")
        assert ours[-1] == "random initialisation (same seed)"
        assert "randomly initialised" not in page.text
    assert "before training" not in page.text


def test_classes_as_a_classifier_tells_them(run):
    assert "The class of the nearest video against the true class" in read(run).text
    store = Features(run / "features" / "folder-trained.h5")
    true = store.labels[store.part("1", "test")].tolist()
    names = dict(zip(store.labels.tolist(), store.class_of, strict=True))
    split = {"test_part": "test", "results": {}, "details": {"trained": {"predictions": true}}}
    changes = {"task": "linear", "dataset": "folder", "classes": [names[0], names[1]]}
    write_result(run, "linear-folder-split1.json", splits={"1": split}, **changes)
    text = read(run).text
    assert (
        f"The class that the linear probe names against the true class: {len(true)} of "
        f"{len(true)} right. From results/linear-folder-split1.json."
    ) in text
    write_result(run, "linear-folder-split1.json", splits={"1": split}, factor="tempo", **changes)
    assert "The class of the nearest video against the true class" in read(run).text


def test_curves_have_the_healthy_value(run):
    page = read(run)
    labels = [found["aria-label"] for found in page.all("svg", role="img")]
    assert any(label.startswith("Loss. loss: ") and "at step 8" in label for label in labels)
    assert any("Standard deviation" in label and "healthy: " in label for label in labels)
    told = [found for found in labels if found.startswith("Correlation of the features' channels")]
    assert len(told) == 1 and "mean square: " in told[0] and "at step 8" in told[0]
    assert {"Throughput", "Data wait"} <= {label.split(".")[0] for label in labels}


def test_clips_play_and_say_right_or_wrong(run):
    page = read(run)
    films = page.all("div", style="data:image")
    queries = page.all("li", **{"class": "query plays"})
    store = Features(run / "features" / "folder-trained.h5")
    asked = len(store.part("1", "test"))
    assert len(queries) == asked and len(films) == 6 * asked
    assert all("url(data:image/jpeg;base64," in film["style"] for film in films)
    assert all(query["tabindex"] == "0" for query in queries)
    assert "✓ right" in page.text
    css = make_report(run)
    assert "prefers-reduced-motion: no-preference" in css and "prefers-color-scheme: dark" in css


def test_a_run_that_has_only_begun(finished_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished_run / "config.toml", run)
    page = read(run)
    for command in (
        f"ascnet train --run {run} --resume",
        f"ascnet evaluate --task retrieval --run {run}",
        f"ascnet evaluate --task linear --run {run}",
    ):
        assert command in page.text
    assert "r3d-tiny to be trained without labels" in page.text
    assert "There is no log yet" in page.text and "There is no feature store yet" in page.text


def test_a_log_cut_in_its_first_lines(run):
    lines = (run / "log.jsonl").read_text().splitlines()
    (run / "log.jsonl").write_text(lines[0] + '\n{"step": 4, "lo')
    page = read(run)
    assert "The log ends at step 2 of 8." in page.text
    assert "left out of the charts: 1." in page.text
    (run / "log.jsonl").write_text('{"step": 1, "steps": 8, "loss": NaN}\n')
    assert "The log ends at step 1 of 8." in read(run).text


def test_a_damaged_byte_of_the_log_costs_its_line(run):
    lines = (run / "log.jsonl").read_bytes().splitlines()
    lines[1] = lines[1].replace(b"loss", b"l\xffss", 1)
    (run / "log.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    page = read(run)
    assert "left out of the charts: 1." in page.text and "8 of 8 steps" in page.text


def test_no_page_shows_a_password(run, shards):
    url, command = "https://me:secret@host/ucf101?token=secret", "pipe:curl -u me:secret h/{}"
    other = command.replace("h/", "g/")
    counts = {"training_videos": 9, "expected": 11, "built": 10}
    known = {"https://host/ucf101": counts, command: counts, other: counts}
    config = tomllib.loads((run / "config.toml").read_text())
    config["run"] |= {"shards": [url, command, other], "counts": known}
    (run / "config.toml").write_text(tomli_w.dumps(config))
    write_result(run, trained_on={"shards": [url, command, other], "counts": known})
    html = make_report(run)
    text = Page(html).text
    assert "secret" not in html
    assert "trained without labels on 9 training videos of ucf101 and 9 training videos of" in text
    assert "ucf101: 10 of 11 videos built, 9 for training" in text
    assert "https://host/ucf101, shards from a command, shards from a command" in text
    assert "trained on.counts.shards from a command (3).expected 11" in text


def test_what_cannot_be_read_is_named(run):
    (run / "results" / "a.json").write_text("{")
    (run / "results" / "b.json").write_text('{"task": "knn"}')
    (run / "features" / "other-trained.h5").write_bytes(b"no HDF5")
    text = read(run).text
    assert "results/a.json is not shown" in text and "results/b.json is not shown" in text
    assert "other-trained.h5 is not a feature store" in text


def test_results_of_a_file_of_weights(dataset, tmp_path):
    run = tmp_path / "weights-r3d"
    fill_store(run, dataset)
    page = read(run)
    assert "Results of weights that were not trained here" in page.text
    assert "There are no results yet." in page.text and "ascnet evaluate" not in page.text
    shutil.rmtree(run / "features")
    write_result(run, trained_on={"weights": "/some/r3d.pth", "loaded": "all"})
    assert "ascnet evaluate --task retrieval --weights /some/r3d.pth" in read(run).text
    with pytest.raises(EvaluateError, match="is not a run directory"):
        make_report(tmp_path)


def test_no_run_and_a_broken_config(run):
    (run / "config.toml").write_text("a = = 1")
    with pytest.raises(EvaluateError, match="cannot be read"):
        make_report(run)


def test_hostile_names_stay_names(finished_run, shards, dataset, tmp_path):
    run, copy = tmp_path / BAD.replace("/", ""), tmp_path / "shards"
    shutil.copytree(finished_run, run)
    shutil.copytree(shards, copy)
    lines = [json.loads(line) for line in (copy / VIDEOS_FILE).read_text().splitlines()]
    for i, row in enumerate(lines):
        row["name"] = f"{BAD}/{i}\udcff\u202e{{{{ 7 * 7 }}}}.avi"
        row["class"] = None if row["class"] is None else row["class"] + BAD
    failed = {"key": 99, "name": f"{BAD}\udc80", "status": "failed", "reason": BAD, "detail": BAD}
    text = "".join(json.dumps(row) + "\n" for row in [*lines, failed])
    (copy / VIDEOS_FILE).write_text(text)
    fill_store(run, type(dataset)(copy))
    config = (run / "config.toml").read_text().replace(str(shards), str(copy))
    (run / "config.toml").write_text(config)
    html = write_report(run).read_text(encoding="utf-8")
    page = Page(html)
    page.check()
    assert len(page.all("script")) == 1 and "alert" not in "".join(page.scripts)
    assert "\u202e" not in html and "\\u202e{{ 7 * 7 }}.avi" in page.text
    assert f"{BAD}\\udc80" in page.text
    for found in page.all("figure", **{"data-map": "{"}):
        assert BAD in json.loads(found["data-map"])["names"][0]


def test_unlabelled_videos_are_searched_among_each_other(run, dataset):
    videos = [
        type(video)(**(vars(video) | {"label": None, "class_name": None, "splits": {}}))
        for video in dataset.videos
    ]
    (run / "features" / "folder-trained.h5").unlink()
    fill_store(run, dataset, videos)
    page = read(run)
    assert "gallery: all other videos, except" in page.text
    heads = [text for _, text in page.headings]
    assert "Classes" not in heads and "What is found" in heads and "Map" in heads
    assert "✓ right" not in page.text and "✗ wrong" not in page.text
