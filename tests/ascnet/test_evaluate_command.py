"""`ascnet evaluate` as it is called, in this process."""

import json
import os
import shutil
from pathlib import Path

import click
import pytest
import safetensors.torch
from click.testing import CliRunner

import ascnet
from ascnet.commands.evaluate import command
from ascnet.encoders import EncoderChoice, newest_store
from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from evaluate.errors import EvaluateError
from evaluate.pages.report import write_report
from evaluate.pages.results import read_results
from tests.evaluate.stores import held
from tests.processes import begin_ascnet
from tests.trainer.data.streaming.test_retrying import serve
from tests.trainer.ranks import run_together
from trainer.backbones.all_backbones import make_backbone
from trainer.errors import TrainerError

QUICK = ("--set", "classifier.epochs=1", "--set", "classifier.batch=4")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of a run, the newest one of the current folder."""
    shutil.copytree(finished_run, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "mine"


def evaluate(*words: str | Path) -> str:
    result = CliRunner().invoke(command, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: str | Path) -> str:
    """What a user would read: the sentence of an error, or of wrong usage."""
    try:
        result = CliRunner().invoke(
            command, list(map(str, words)), catch_exceptions=False, standalone_mode=False
        )
    except (EvaluateError, TrainerError, click.UsageError) as error:
        return error.format_message() if isinstance(error, click.UsageError) else str(error)
    raise AssertionError(result.output)


def test_all_tasks_and_all_splits(run):
    output = evaluate("--task", "all", "--split", "all", *QUICK)
    titles = ("Retrieval", "Linear probe", "k nearest neighbours vote", "Few labels", "Fine-tuning")
    for title in titles:
        assert f"{title} on folder, split 1 (%)" in output
    found = {path.name.split("-")[0] for path in (run / "results").glob("*.json")}
    assert found == {"retrieval", "linear", "knn", "fewshot", "finetune"}


def test_the_curve_of_a_run(run):
    evaluate("--task", "knn")
    files = {path: path.read_bytes() for path in run.glob("*/*-folder-*")}
    checkpoint = run / "checkpoints" / "00000002.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-100])  # the others are measured all the same
    words = ("--task", "all", "--checkpoint", "all")
    assert "00000002.pt is damaged. Copy it again, or choose another" in refused(*words)
    names = {path.name for path in (run / "results").glob("knn-*.json")}
    assert names == {
        "knn-folder-split1.json",
        *(f"knn-folder-split1_step-{n}.json" for n in (4, 6)),
    }
    checkpoint.write_bytes(whole)
    output = evaluate(*words)
    for step in (4, 6, 8):
        said = f"step {step}: k nearest neighbours vote on folder, split 1, knn@10"
        assert any(
            line.startswith(said) and line.endswith("(measured before)")
            for line in output.splitlines()
        )
    assert "step 2, features 16/16 videos" in output and "step 4, features" not in output
    table = output[output.index("The curve of the run on folder, split 1") :].splitlines()
    heads = "step recall@1 linear top-1 knn@10 4-shot effective rank LiDAR alignment uniformity"
    assert table[1].split() == heads.split()
    assert [line.split()[0] for line in table[2:8]] == [
        "untrained",
        "calibrated",
        "2",
        "4",
        "6",
        "8",
    ]
    assert output.splitlines()[-1].startswith("  finetune is left out")
    assert all(path.read_bytes() == content for path, content in files.items())
    stores = {path.name for path in (run / "features").glob("*.h5")}
    milestones = {f"folder-trained_step-{step}.h5" for step in (2, 4, 6)}
    last = {f"folder-{name}.h5" for name in ("trained", "untrained", "calibrated")}
    assert stores == last | milestones
    os.utime(run / "features" / "folder-trained_step-4.h5", (2**31, 2**31))
    assert newest_store(EncoderChoice(run=run)).name == "folder-trained.h5"


def test_one_checkpoint_of_a_run(run):
    output = evaluate("--task", "finetune", "--checkpoint", "4", *QUICK, "--no-baseline")
    assert "seed 0, step 4" in output
    (result,) = (run / "results").glob("finetune-folder-split1_*_step-4.json")
    assert json.loads(result.read_text())["protocol"]["milestone"] == 4
    (folder,) = (run / "finetune").iterdir()
    assert folder.name == f"{result.stem}-trained"
    evaluate("--task", "knn", "--checkpoint", "8")  # the last has the usual names
    assert (run / "results" / "knn-folder-split1.json").is_file()


def test_few_labels(run):
    output = evaluate("--task", "fewshot", "--raw", "--no-baseline")
    assert "Few labels on folder, split 1 (%)" in output and " ± " in output
    assert "16-shot left out: class" in output
    assert "logistic regression on features, C = 1; of all labels: penalty chosen on" in output
    assert (run / "features" / "folder-trained.h5").is_file()
    again = evaluate("--task", "fewshot", "--raw", "--no-baseline")
    assert again.splitlines()[-6:] == output.splitlines()[-6:]
    assert "16/16 videos" in output and "16/16 videos" not in again  # the store is used
    path = run / "results" / "fewshot-folder-split1_baseline-none_standardise-False.json"
    assert json.loads(path.read_text())["columns"][0] == "1-shot"


def test_on_the_fly_with_settings_and_crops(run):
    words = ("--task", "linear", "--on-the-fly", "--crops", "3", "--clips", "2", "--no-baseline")
    output = evaluate(*words, *QUICK)
    assert "Linear probe on augmented clips on folder" in output
    assert "2 clips x 4 frames, stride 2, 3 crops 16" in output and "untrained" not in output
    assert "recipe demo-linear, last epoch, logits averaged" in output
    (path,) = (run / "results").glob("linear-on-the-fly-folder-split1_*.json")
    own = json.loads(path.read_text())["protocol"]["classifier"]
    assert own["frozen"] and own["epochs"] == 1.0


def test_an_attentive_probe_beside_the_linear_one(run):
    """Results, trainings and tables of their own."""
    words = ("--task", "linear", "--on-the-fly", "--layer", "layer3", "--no-baseline", *QUICK)
    evaluate(*words)
    output = evaluate(*words, "--head", "attentive")
    assert "Attentive probe on augmented clips on folder, split 1 (%)" in output
    assert "layer layer3, attention-pooled; an attentive probe on the frozen network" in output
    assert "recipe demo-attentive, last epoch, logits averaged" in output
    assert refused(*words, "--head", "attentive", "--pooling", "max").startswith("pooling is max,")
    names = sorted(path.name.split("-split")[0] for path in (run / "results").glob("*.json"))
    assert names == ["attentive-on-the-fly-folder", "linear-on-the-fly-folder"]
    assert len(list((run / "finetune").iterdir())) == 2
    assert {t.title.split(" on ")[0] for t in read_results(run).tables} == {
        "Attentive probe",
        "Linear probe",
    }


def test_choices_of_features(run):
    words = ("--layer", "layer2", "--pooling", "max", "--centring", "gallery mean")
    output = evaluate("--set", "every=0.2", *words)
    assert "a clip every 0.2 s x 4 frames" in output
    assert "layer layer2, max-pooled; cosine, exact, centring: gallery mean" in output
    assert "features" in output and (run / "features").is_dir()


def test_weights_in_place_of_a_run(run, shards, tmp_path):
    safetensors.torch.save_file(make_backbone("r3d-tiny").state_dict(), "mine.safetensors")
    words = ("--weights", "mine.safetensors", "--shards", shards, "--set", "size=16")
    output = evaluate("--task", "knn", *words)
    assert "r3d-tiny, recipe demo" in output and "untrained: random init" in output
    assert list((tmp_path / "runs" / "weights-mine" / "results").glob("knn-folder-*.json"))
    assert "is a folder, no file of weights" in refused("--weights", run)


def test_data_sets_by_name(run, shards, make_video, tmp_path):
    shutil.copytree(shards, tmp_path / "both" / "one")
    for i in range(4):
        make_video(tmp_path / "videos" / "class" / f"v_a_g{i:02d}_c01.avi", frames=8)
    catalog = folder.read(tmp_path / "videos")
    build(catalog, tmp_path / "both" / "two", BuildSettings(FrameSettings(32)), How(workers=1))
    assert "are both named folder" in refused("--shards", "both")
    said = refused("--shards", shards, "--dataset", "ucf101")
    assert "There is no data set 'ucf101'; choose from folder" in said
    assert "Retrieval on folder" in evaluate("--shards", shards, "--dataset", "folder")


def test_shards_that_were_moved(run, shards, tmp_path):
    config = run / "config.toml"
    config.write_text(config.read_text().replace(str(shards), str(tmp_path / "gone")))
    assert "where there are no shards now. Name their folder with --shards" in refused()


def test_shards_that_are_streamed(run, shards, monkeypatch):
    """The same figures as from local ones; what jumps from video to video says what it needs."""
    local = evaluate("--task", "knn", "--no-baseline")
    shutil.rmtree(run / "features")
    monkeypatch.setenv("no_proxy", "*")
    with serve(shards) as server:
        streamed = evaluate("--task", "knn", "--no-baseline", "--shards", server.url)
        assert streamed.splitlines()[1:] == local.splitlines()[1:]  # but for the speed
        assert len([name for name in server.asked if name.endswith(".tar")]) == 4
        retrieval = evaluate("--no-baseline", "--shards", server.url)
        assert f"There is no picture of the results: {server.url} is streamed in" in retrieval
        said = refused("--task", "finetune", "--shards", server.url, *QUICK)
        assert f"Fine-tuning is not possible: {server.url} is streamed in the order" in said
        assert "Copy dataset.json, videos.jsonl and the shards to a folder, and name" in said
        assert "cannot be read: curl: (22)" in refused("--shards", f"{server.url}/gone")
        assert not list((run / "results").glob("*.png"))
    assert f"The shards are streamed from {server.url}, but" in page_of(run)


def page_of(run: Path) -> str:
    write_report(run, run / "page.html")
    return (run / "page.html").read_text()


def test_no_server_is_asked_because_a_run_says_so(run, shards):
    config = run / "config.toml"
    config.write_text(config.read_text().replace(str(shards), "pipe:touch asked; cat x/{}"))
    assert "named in a run's config.toml are not used: name it with" in refused()
    assert not Path("asked").exists()


@pytest.mark.parametrize(
    "words, sentence",
    [
        (("--on-the-fly",), "--on-the-fly has no effect on retrieval"),
        (("--task", "linear", "--centring", "own mean"), "--centring has no effect on linear"),
        (("--task", "knn", "--probe", "sgd"), "--probe has no effect on knn"),
        (("--task", "knn", "--raw"), "--raw has no effect on knn; it is for fewshot, linear"),
        (("--classifier", "demo"), "--classifier has no effect on retrieval"),
        (("--set", "classifier.lr=1"), "--set classifier. has no effect on retrieval"),
        (
            ("--task", "linear", "--head", "attentive"),
            "--head attentive is for probes trained on clips. Add --task linear --on-",
        ),
        (
            ("--task", "finetune", "--classifier", "demo-attentive"),
            "has an attentive head, which --task finetune does not train. Use --task linear --on-",
        ),
        (
            ("--task", "linear", "--on-the-fly", "--head", "attentive"),
            "The network gives one vector for a clip of 4 frames of 16 pixels",
        ),
        (("--backbone", "r3d18"), "go with --weights"),
        (("--run", "runs/mine", "--weights", "x.pth"), "Name one encoder"),
        (("--split", "9"), "no labelled train videos in split 9; its splits are 1 (test, train)"),
        (("--checkpoint", "3"), "keeps no checkpoint of step 3; there are those of 2, 4, 6, 8."),
        (("--checkpoint", "first"), "--checkpoint is 'first'; it takes a step, such as 2000, or"),
        (
            ("--task", "linear", "--on-the-fly", "--classifier", "ucf101-r3d18"),
            "--classifier ucf101-r3d18 has frozen = false, and --task linear --on-the-fly trains a",
        ),
        (
            ("--task", "finetune", "--classifier", "linear"),
            "--classifier linear has frozen = true, and --task finetune trains the whole network",
        ),
        (("--clips", "3", "--set", "clips=5"), "--clips and --set clips= are both given"),
        (
            ("--checkpoint", "4", "--weights", "x.pth"),
            "of a run, so it does not go with --weights. Omit",
        ),
        (("--checkpoint", "all", "--task", "finetune"), "finetune would train a classifier for"),
        (("--factor", "tempo"), "no known factor 'tempo'"),
        (("--layer", "head"), "no layer 'head'. Its layers include stem, layer1"),
        (("--set", "clip=3"), "no setting clip. Did you mean clips?"),
        (("--set", "every=nan"), "every is nan; allowed: 0"),
        (("--task", "finetune", "--classifier", "x"), "--classifier: there is no recipe 'x'"),
        (
            ("--task", "finetune", "--set", "classifier.lrr=1"),
            "no setting classifier.lrr. Did you mean classifier.lr?",
        ),
        (
            ("--task", "finetune", "--set", "classifier.lr=-1"),
            "classifier.lr is -1.0; allowed: positive.",
        ),
        (
            ("--task", "finetune", "--set", "classifier.lr=x"),
            "classifier.lr is 'x'; it takes a number",
        ),
    ],
)
def test_mistakes_are_one_sentence(run, words, sentence):
    said = refused(*words)
    assert sentence in said and "\n" not in said


def test_one_task_that_is_refused_leaves_the_others(run):
    evaluate()
    store = run / "features" / "folder-trained.h5"
    store.write_bytes(store.read_bytes()[:-100])
    said = refused("--task", "all", "--no-baseline", *QUICK)
    assert said.count("is damaged") == 1  # four tasks, one sentence
    assert list((run / "results").glob("finetune-*.json"))
    assert "Retrieval on folder" in evaluate("--overwrite")


def test_a_store_in_use_is_not_replaced(run):
    evaluate("--no-baseline")
    store = run / "features" / "folder-trained.h5"
    before = store.read_bytes()
    with held(store):
        for words in ((), ("--overwrite",), ("--task", "knn", "--overwrite")):
            said = refused("--no-baseline", *words)
            assert "folder-trained.h5 is in use: " in said and "damaged" not in said
        with pytest.raises(EvaluateError, match="is in use: "):
            ascnet.open_features(store)
    assert store.read_bytes() == before
    evaluate("--no-baseline")


def test_two_processes_have_one_voice_and_go_on_after_an_error(run, shards):
    words = ["evaluate", "--task", "all", "--no-baseline", "--set", "classifier.lr=-1"]
    said = run_together(2, begin_ascnet, words, cwd=run.parent.parent, ends=(2, 2))
    assert [text.count("lr is -1") for text in said] in ([1, 0], [0, 1])
    titles = ("Retrieval on", "Linear probe on", "k nearest neighbours vote on", "Few labels on")
    for title in titles:
        assert [text.count(title) for text in said] == [1, 0]
    assert len(list((run / "results").glob("*.json"))) == 4


def test_frames_that_are_smaller_than_the_clips_are_said_to_be(run):
    words = ("--task", "knn", "--no-baseline")
    assert "enlarged" not in evaluate(*words)
    output = evaluate(*words, "--set", "size=64")
    assert "the frames of 16 of 16 videos are enlarged, from 32 pixels" in output
    (path,) = (run / "results").glob("*size-64*.json")
    said = json.loads(path.read_text())["enlarged"]
    assert "--short-side 80" in said
    assert any(said in table.warning for table in read_results(run).tables)  # what the page says


def test_enlarged_frames_are_said_before_a_classifier_is_trained(run):
    words = ("--task", "finetune", "--no-baseline", "--set", "classifier.steps=1")
    output = evaluate(*words, "--set", "classifier.train.size=48")
    said = "are enlarged, from 32 pixels on the short side to clips of 48 x 48"
    assert output.count(said) == 2
    assert output.index(said) < output.index("Fine-tuning on")
