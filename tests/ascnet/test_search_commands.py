"""embed, search and near-duplicates, as they are called."""

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch
from safetensors.torch import save_file

from ascnet.encoders import EncoderChoice, newest_store
from builder.decode.ffmpeg import find_ffmpeg
from builder.shards.dataset import ShardDataset
from evaluate.encoders import of_run
from evaluate.features import encode
from evaluate.features import extract as extract_module
from evaluate.features.extract import Extraction, extract
from evaluate.features.store import Features, unfinished
from evaluate.protocol import protocol_of
from tests.commands import run_ascnet
from tests.evaluate.stores import content, held
from tests.processes import begin_ascnet
from tests.trainer.ranks import run_together
from trainer.backbones.all_backbones import make_backbone
from trainer.weights.export import export

PATTERNS = (
    *("testsrc", "smptebars", "rgbtestsrc", "yuvtestsrc", "mandelbrot", "life", "cellauto"),
    *("sierpinski", "gradients", "pal75bars", "pal100bars", "zoneplate"),
)


def says(*words: object, fails: bool = False) -> str:
    """What a command prints; with `fails`, what it says when it cannot."""
    done = run_ascnet(*words, cwd=Path.cwd())
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def videos(make_video, tmp_path_factory):
    """Different videos, and copies of one of them."""
    root = tmp_path_factory.mktemp("many")
    for pattern in PATTERNS:
        make_video(root / f"{pattern}.mp4", pattern=pattern, frames=75)
    whole = make_video(root / "whole.mp4", pattern="testsrc2", frames=150, args="-q:v 3")
    for name, args in {
        "smaller": "-vf scale=48:36 -q:v 12",
        "trimmed": "-ss 0.4 -t 5",
        "part": "-ss 2.6 -t 2.2",
        "mirrored": "-vf hflip",
    }.items():
        copy(whole, root / f"{name}.mp4", args)
    return root


def copy(source, target, args: str) -> None:
    words = [find_ffmpeg(), "-v", "error", "-i", str(source), *args.split(), str(target)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def store(videos, finished_run, tmp_path_factory):
    """`ascnet embed` of `videos`, in a copy of a run; its default place."""
    run = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(finished_run, run)
    says("embed", videos, "--run", run, "--every", 0.5)
    return run / "features" / f"{videos.name}-0.5s.h5"


def test_embed_then_find_a_copy(store, videos):
    features = Features(store)
    assert len(features.names) == 17
    assert features.shards == store.with_suffix(".shards")
    text = says("search", videos / "part.mp4", "--store", store, "-k", 5)
    head, first, second, *_ = text.splitlines()
    assert re.split(r"\s{2,}", head) == ["rank", "cosine", "video", "clip", "in the query"]
    assert first.split()[:3] == ["1", "1.000", "part.mp4"]
    assert re.fullmatch(r"00:0\d\.\d-00:0\d\.\d", first.split()[3])
    assert second.split()[2] in ("whole.mp4", "trimmed.mp4", "smaller.mp4")
    assert "features mean-centred" in text and "of 17 videos" in text
    raw = says("search", videos / "part.mp4", "--store", store, "--centring", "none")
    assert "as the network gives them" in raw
    assert raw.splitlines()[1].split()[:3] == ["1", "1.000", "part.mp4"]
    every = says("search", videos / "part.mp4", "--store", store, "-k", 500)
    assert sum(".mp4" in line for line in every.splitlines()) == 17


def test_copies_are_near_duplicates(store, tmp_path):
    table = tmp_path / "pairs.csv"
    text = says("near-duplicates", store, "--csv", table, "--show", 3)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = {frozenset((row["first"], row["second"])) for row in rows}
    for name in ("smaller.mp4", "trimmed.mp4", "part.mp4"):
        assert frozenset(("whole.mp4", name)) in pairs, name
    part = next(r for r in rows if {r["first"], r["second"]} == {"whole.mp4", "part.mp4"})
    place = part["first_time"] if part["first"] == "whole.mp4" else part["second_time"]
    begin, end = (float(code.split(":")[1]) for code in place.split("-"))
    assert 1.9 <= begin <= 3.2 and 3.9 <= end <= 5.4  # it was cut from 2.6 to 4.8
    numbers = {name: row["group"] for row in rows for name in (row["first"], row["second"])}
    assert numbers["whole.mp4"] == numbers["smaller.mp4"] == numbers["part.mp4"]
    assert [float(r["score"]) for r in rows] == sorted(map(float, (r["score"] for r in rows)))[::-1]
    assert f"... and {len(rows) - 3} more pairs" in text
    assert "WARNING" not in text and "split" not in text.splitlines()[0]
    none = says("near-duplicates", store, "--threshold", 1, "--show", 0)
    assert "of 17 videos with a score of 1 or more" in none


def test_copies_in_train_and_test_are_a_warning(make_video, finished_run, tmp_path):
    folder = tmp_path / "v"
    for number, pattern in enumerate(PATTERNS):
        make_video(folder / f"{number}.mp4", pattern=pattern, frames=25)
    shutil.copy(folder / "3.mp4", folder / "copy.mp4")
    rows = [f"{i}.mp4,{'test' if i == 3 else 'train'}" for i in range(len(PATTERNS))]
    (folder / "splits.csv").write_text("\n".join(["video,split", *rows, "copy.mp4,train"]))
    store = tmp_path / "x.h5"
    says("embed", folder, "--run", finished_run, "--out", store)
    text = says("near-duplicates", store, "--leaks", "--threshold", 0.999)
    head, row, *rest = text.splitlines()
    assert head.split()[-1] == "split" and row.endswith("1: test/train")
    assert {"3.mp4", "copy.mp4"} <= set(row.split())
    assert rest[-2] == "1 pair of 13 videos with a score of 0.999 or more: 2 videos in 1 group"
    assert rest[-1].startswith("WARNING: 1 pair across the parts of a split: evaluation")
    every = says("near-duplicates", store, "--threshold", 0.2).splitlines()
    leaks = says("near-duplicates", store, "--threshold", 0.2, "--leaks").splitlines()
    assert every[-2:] == leaks[-2:]  # the counts
    assert leaks[1:-2] == [row for row in every[1:-2] if "/t" in row] != every[1:-2]
    table = tmp_path / "pairs.csv"
    says("near-duplicates", store, "--threshold", 0.2, "--leaks", "--show", 1, "--csv", table)
    assert len(table.read_text().splitlines()) == len(leaks) - 2  # a head, and every leak
    (folder / "splits.csv").write_text(
        "\n".join(
            ["video,split", *(row.replace("test", "train") for row in rows), "copy.mp4,train"]
        )
    )
    says("embed", folder, "--run", finished_run, "--out", store, "--overwrite")
    text = says("near-duplicates", store, "--threshold", 0.999)
    assert "no pair lies in different parts of split 1" in text and "WARNING" not in text


def test_groups_of_copies_mend_the_next_split(make_video, finished_run, tmp_path):
    """A folder without groups in names: a copy lies in train and test; not so after --groups and
    the command that it prints."""
    folder = tmp_path / "my videos"
    for number, pattern in enumerate(PATTERNS):
        make_video(folder / f"{number % 2}" / f"{number}.mp4", pattern=pattern, frames=25)
    for name in ("0/again.mp4", "0/copy.mp4", "1/copy of another class.mp4", "1/third.mp4"):
        shutil.copy(folder / "1" / "3.mp4", folder / name)
    (folder / "0" / "damaged.mp4").write_bytes(b"no video")  # in no store, and in no table
    out, store, table = tmp_path / "shards", tmp_path / "x.h5", folder / "splits.csv"
    words = ["build", "folder", "--source", folder, "--out", out, "--short-side", 48]
    assert "_gNN_ in their names" in says(*words, "--name", "mine")
    embed = ["embed", "--shards", out / "mine", "--run", finished_run, "--out", store]
    says(*embed)
    look = ["near-duplicates", store, "--threshold", 0.9999, "--show", 0]
    assert "(--groups: a table that keeps copies" in says(*look)
    text = says(*look, "--groups", table)
    assert "WARNING" in text
    assert (
        f"{table}: 5 videos joined into 1 group, the largest of 5 videos; 12 groups in all, "
        in (text)
    )
    assert len(table.read_text().splitlines()) == 17
    command = shlex.split(text.splitlines()[-1])
    assert command[:6] == ["ascnet", "build", "folder", "--source", str(folder), "--name"]
    assert command[command.index("--short-side") + 1] == "48" and command[-1] == "--overwrite"
    built = says(*command[1:])
    assert "splits.csv gives groups of 16 of 17 videos and no split" in built
    assert "The 1 that it does not name" in built
    says(*embed, "--overwrite")
    after = says(*look)
    assert "5 videos in 1 group; no pair lies in different parts of split 1" in after
    features = Features(store)
    assert set(features.splits["1"]) == {"train", "test"}
    again = says(*look, "--groups", tmp_path / "again.csv")  # nothing is left to be joined
    assert "again.csv: 0 videos joined into 0 groups: no pair links videos of two groups" in again
    assert (tmp_path / "again.csv").read_text() == table.read_text()
    assert "cp -i" in again and "--source VIDEOS" in again  # it lies elsewhere
    refused = says(*look, "--groups", table, fails=True)
    assert f"{table} exists, and a split or groups in it would be lost" in refused
    assert "name two files" in says(*look, "--csv", "x.csv", "--groups", "x.csv", fails=True)


def test_shards_that_are_built_are_not_decoded_again(shards, finished_run, tmp_path):
    out = tmp_path / "x.h5"
    text = says("embed", "--shards", shards, "--run", finished_run, "--out", out, "--every", 0)
    assert "16 videos, 80 clips (5 each)" in text
    assert not out.with_suffix(".shards").exists()
    found = Features(out)
    assert found.shards == shards and set(found.class_of) == {"bars", "test"}


def test_shards_from_a_command(shards, videos, finished_run, tmp_path):
    """The features are those of local shards, and can be searched."""
    place, run = f"pipe:cat {shards}/{{}}", ["--run", finished_run]
    for name, where in (("x.h5", place), ("y.h5", shards)):
        says("embed", "--shards", where, *run, "--out", tmp_path / name, "--every", 0)
    streamed, local = Features(tmp_path / "x.h5"), Features(tmp_path / "y.h5")
    assert (streamed.clip_features == local.clip_features).all() and streamed.place == place
    text = says("search", videos / "part.mp4", "--store", streamed.path, *run)
    assert "compared with 80 clips of 16 videos" in text
    assert "does not say where the name" in says("embed", "--shards", "pipe:x", *run, fails=True)


def test_frames_of_shards_that_are_too_small_are_said_to_be(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file(make_backbone("r3d-tiny").state_dict(), "x.safetensors")
    Path("own.toml").write_text("[data]\nsize = 48\nframes = 4\n[evaluate]\nclips = 1\n")
    words = ("embed", "--shards", shards, "--weights", "x.safetensors", "--recipe", "own.toml")
    said = says(*words, "--every", 0)
    assert "16 of 16 videos are enlarged, from 32 pixels on the short side to clips of 48" in said
    assert "--weights x.safetensors --recipe own.toml" in said  # the next command


def test_classes_are_shown_and_five_clips_do(video_folder, shards, finished_run, tmp_path):
    out, query = tmp_path / "x.h5", video_folder / "test" / "v_test_g02_c01.avi"
    says("embed", "--shards", shards, "--run", finished_run, "--out", out, "--every", 0)
    text = says("search", query, "--store", out, "--run", finished_run, "-k", 3)
    assert text.splitlines()[0].split()[-1] == "class"
    assert all(line.split()[-1] == "test" for line in text.splitlines()[1:4])
    assert "5 clips of the query compared with 80 clips of 16 videos" in text


def test_the_newest_store_of_the_newest_run_is_searched(
    store, videos, finished_run, tmp_path, monkeypatch
):
    (tmp_path / "runs").mkdir()
    shutil.copytree(store.parent.parent, tmp_path / "runs" / "run")
    monkeypatch.chdir(tmp_path)
    features = tmp_path / "runs" / "run" / "features"
    os.utime(features / store.name, ns=(1, 1))
    assert str(store.name) in says("search", videos / "part.mp4", "-k", 1)
    # What the untrained network says is never the default.
    subjects, dataset = of_run(finished_run), ShardDataset(Features(store).shards)
    protocol = protocol_of(subjects.settings)
    cpu = torch.device("cpu")
    extract(features / "y-untrained.h5", Extraction(subjects.untrained, protocol, dataset, cpu))
    (features / "z.partial.h5").write_bytes(b"unfinished")
    assert newest_store(EncoderChoice(tmp_path / "runs" / "run")).name == store.name
    found = says("search", videos / "part.mp4", "--store", features / "y-untrained.h5", "-k", 1)
    assert found.splitlines()[1].split()[:3] == ["1", "1.000", "part.mp4"]


def test_a_file_of_weights_in_place_of_a_run(videos, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(finished_run, "safetensors", tmp_path / "w.safetensors")
    text = says("embed", videos / "life.mp4", videos / "part.mp4", "--weights", "w.safetensors")
    made = re.search(r"^(runs/weights-w/features/\S+\.h5): 2 videos", text, re.MULTILINE)
    assert made, text
    found = says("search", videos / "part.mp4", "--weights", "w.safetensors")
    assert found.splitlines()[1].split()[:3] == ["1", "1.000", "part.mp4"]
    assert "centring needs at least 10 different videos" in found
    other = says(
        "search", videos / "part.mp4", "--store", made[1], "--run", finished_run, fails=True
    )
    assert "features of different encoders cannot be compared" in other
    both = ["--run", finished_run, "--weights", "w.safetensors"]
    assert "Name one encoder" in says("embed", videos / "part.mp4", *both, fails=True)


def test_the_page(store, videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strange = tmp_path / "<b>&\"'\udcff.mp4"
    shutil.copy(videos / "part.mp4", strange)
    says("search", strange, "--store", store, "--html", "a/page.html", "-k", 3)
    page = (tmp_path / "a" / "page.html").read_text(encoding="utf-8")
    assert "<b>&" not in page and "&lt;b&gt;&amp;&#34;&#39;" in page
    assert page.count('<article class="card plays" tabindex="0"') == 3
    assert page.count("data:image/jpeg") >= 6 + 1
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    says("search", videos / "part.mp4", "--store", store, "--html")
    assert (tmp_path / "search-part.html").is_file()
    wrong = says("search", "x.mp4", "--html", videos / "part.mp4", fails=True)
    assert "the name must end in .html" in wrong
    moved = tmp_path / "moved.h5"
    shutil.copy(store, moved)
    with h5py.File(moved, "r+") as file:
        file.attrs["shards"] = str(tmp_path / "gone")
    says("search", videos / "part.mp4", "--store", moved, "--run", store.parent.parent, "--html")
    page = (tmp_path / "search-part.html").read_text(encoding="utf-8")
    assert "There are no pictures of the results" in page and "no picture" in page


def test_every_problem_is_one_sentence(store, videos, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    query, run = videos / "part.mp4", ["--run", finished_run]
    (tmp_path / "text.mp4").write_text("hello\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.h5").write_bytes(store.read_bytes()[:3000])
    shutil.copy(store, tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["schema"] = 1
    shutil.copy(store, tmp_path / "step.h5")
    with h5py.File(tmp_path / "step.h5", "r+") as file:
        file.attrs["checkpoint_sha256"] = "f" * 64
    shutil.copy(store, tmp_path / "open.h5")
    with h5py.File(tmp_path / "open.h5", "r+") as file:
        file.attrs["sha256"] = "0" * 64
        file["done"][3] = 0
    cases = {
        ("search", "text.mp4", "--store", store): "None of the videos can be read: text.mp4 (not",
        ("search", "nope.mp4", "--store", store): "There is no file or folder nope.mp4",
        ("search", "empty", "--store", store): "empty is a folder. Name one video file",
        ("search", query, "--store", "nope.h5", *run): "There is no feature store nope.h5",
        ("search", query, "--store", "cut.h5", *run): "cut.h5 is damaged",
        ("search", query, "--store", "old.h5", *run): "schema 1; this version of ascnet reads",
        ("search", query, "--store", "step.h5", *run): "step.h5 was changed or damaged",
        (
            "search",
            query,
            "--store",
            "open.h5",
            *run,
        ): "is not finished: it has features of 16 of 17",
        ("search", query, *run): "has no finished store of trained features",
        ("search", query): "runs/weights-built-in has no finished store",
        ("near-duplicates", "text.mp4"): "text.mp4 is not a feature store, as it is no HDF5 file",
        ("near-duplicates", "nope.h5"): "There is no feature store nope.h5",
        ("near-duplicates", "open.h5"): "is not finished",
        ("embed", "nope.mp4", *run): "There is no file or folder nope.mp4",
        ("embed", "empty", *run): "No video below empty",
        ("embed", "text.mp4", *run, "--out", "t.h5"): "None of the videos can be read",
        ("embed", query, *run, "--out", "t.txt"): "end the name in .h5",
        ("embed", query, *run, "--every", "nan"): "nan is not a number; it takes 0<=x<=1000000",
        ("embed", query, *run, "--every", "inf"): "inf is not in the range",
        ("embed", query, *run, "--backbone", "r3d18"): "--backbone and --recipe go with --weights",
        ("embed", query, *run, "--recipe", "demo"): "--backbone and --recipe go with --weights",
        ("search", query, "--store", store, "--recipe", "demo"): "go with --weights; a run has its",
        ("search", query, "--store", store, "--backbone", "c3d"): "go with --weights; a run has",
        ("near-duplicates", store, "--threshold", "nan"): "nan is not a number; it takes 0<x<=1",
        ("embed", *run): "Name either videos or folders of videos, or --shards",
        ("embed", "empty", "--shards", "empty", *run): "or --shards",
        ("embed", "--shards", "empty", *run): "No shards in empty",
        ("embed", query, "--weights", "text.mp4", "--out", "t.h5"): "text.mp4",
    }
    for words, wanted in cases.items():
        said = says(*words, fails=True)
        assert wanted in said, (words, said)
        assert len(said.split("Error: ")) == 2, said


def test_a_store_in_use_is_waited_for(store, videos, finished_run, tmp_path):
    """No command calls it damaged or touches it, and `embed` leaves its frames, too."""
    run = tmp_path / "run"
    shutil.copytree(store.parent.parent, run)
    own = run / "features" / store.name
    frames = own.with_suffix(".shards")
    before = own.read_bytes(), (frames / "dataset.json").read_bytes()
    commands = [
        ["search", videos / "part.mp4", "--store", own],
        ["near-duplicates", own],
        ["embed", videos, "--run", run, "--every", 0.5],
        ["embed", videos, "--run", run, "--every", 0.5, "--overwrite"],
        ["embed", videos / "part.mp4", "--run", run, "--out", own, "--every", 0, "--overwrite"],
    ]
    with held(own):
        for words in commands:
            said = says(*words, fails=True)
            assert f"{own} is in use: another process" in said and "damaged" not in said, words
        assert "is in use: " in open_report(run)
    assert (own.read_bytes(), (frames / "dataset.json").read_bytes()) == before
    assert "is in use: " not in open_report(run)
    for words in commands[:3]:
        says(*words)


def open_report(run) -> str:
    says("report", run)
    return (run / "report.html").read_text()


def test_an_embedding_that_is_under_way_is_left_alone(store, videos, finished_run, tmp_path):
    out = tmp_path / "x.h5"
    words = ["embed", videos / "part.mp4", "--run", finished_run, "--out", out]
    says(*words)
    unfinished(out).write_bytes(out.read_bytes())
    out.unlink()
    frames = (tmp_path / "x.shards" / "dataset.json").read_bytes()
    before = unfinished(out).read_bytes()
    with held(unfinished(out)):
        for more in ([], ["--overwrite"], ["--every", 0, "--overwrite"]):
            assert "x.partial.h5 is in use: " in says(*words, *more, fails=True)
        said = says("near-duplicates", unfinished(out), fails=True)
        assert "x.partial.h5 is in use: " in said
    assert unfinished(out).read_bytes() == before and not out.exists()
    assert (tmp_path / "x.shards" / "dataset.json").read_bytes() == frames


def embed_until_killed(words: list[str]) -> None:
    """`ascnet`, of which rank 1 is killed in its third unit."""
    encode.UNIT = extract_module.UNIT = 2
    really, calls = encode._of_crops, []

    def of_crops(*arguments: object) -> torch.Tensor:
        calls.append(1)
        if os.environ["RANK"] == "1" and len(calls) == 5:  # a batch a video
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return really(*arguments)

    encode._of_crops = of_crops
    begin_ascnet(words)


def test_two_processes_of_which_one_is_killed(video_folder, finished_run, tmp_path, monkeypatch):
    """The other ends soon, with one message. One process goes on with what they left."""
    for module in (encode, extract_module):
        monkeypatch.setattr(module, "UNIT", 2)
    words = ["embed", str(video_folder), "--run", str(finished_run), "--every", "0"]
    ends = (1, -signal.SIGKILL)
    said, _ = run_together(
        2, embed_until_killed, [*words, "--out", "two.h5"], cwd=tmp_path, ends=ends
    )
    assert time.time() - (tmp_path / "killed").stat().st_mtime < 30
    assert said.count("Error: Another process of this command ended") == 1
    assert said.count("Error") == 1 and "Traceback" not in said
    assert said.count("16 expected, 16 built, 0 failed") == 1
    with h5py.File(unfinished(tmp_path / "two.h5")) as file:
        assert file["done"][:].sum() == 8  # two steps of two processes with two videos each
    monkeypatch.chdir(tmp_path)
    says(*words, "--out", "two.h5")
    says("embed", "--shards", "two.shards", *words[2:], "--out", "one.h5")
    one, two = content(tmp_path / "one.h5"), content(tmp_path / "two.h5")
    assert one.keys() == two.keys() and all(one[key] == two[key] for key in one)


def test_another_checkpoint_is_named(store, videos, finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    last = max((run / "checkpoints").glob("*.pt"))
    last.unlink()
    words = ["search", videos / "part.mp4", "--store", store, "--run", run]
    said = says(*words, fails=True)
    assert re.search(
        r"was made with checkpoint \w{12} \(step 8\), and .* has \w{12} \(step 6\)", said
    )


def test_other_clips_are_refused_unless_overwritten(videos, finished_run, tmp_path):
    words = ["embed", videos / "part.mp4", "--run", finished_run, "--out", tmp_path / "x.h5"]
    says(*words)
    refused = says(*words, "--every", 0.25, fails=True)
    assert "made with every 1.0, and now it would be 0.25. Pass --overwrite" in refused
    assert len(Features(tmp_path / "x.h5").clip_video) == 3
    says(*words, "--every", 0.25, "--overwrite")
    assert len(Features(tmp_path / "x.h5").clip_video) > 6


def test_a_store_of_an_unknown_rate_is_searched_by_frames(
    shards, video_folder, finished_run, tmp_path, monkeypatch
):
    dataset = ShardDataset(shards)
    unknown = tuple(replace(video, fps=None) for video in dataset.videos)
    monkeypatch.setitem(dataset.__dict__, "videos", unknown)
    subjects = of_run(finished_run)
    protocol = protocol_of(subjects.settings)
    extraction = Extraction(subjects.trained, protocol, dataset, torch.device("cpu"))
    extract(tmp_path / "x.h5", extraction)
    query = video_folder / "test" / "v_test_g02_c01.avi"
    text = says("search", query, "--store", tmp_path / "x.h5", "--run", finished_run, "-k", 1)
    assert re.search(r"frames \d+-\d+", text.splitlines()[1])
    assert "frames 0-" in says("near-duplicates", tmp_path / "x.h5", "--threshold", 0.9)


def test_a_config_of_another_program_is_no_run(store, videos, tmp_path, monkeypatch):
    """A store in a run that lies in a blog, and one in the blog itself."""
    monkeypatch.chdir(tmp_path)
    blog = tmp_path / "blog"
    shutil.copytree(store.parent.parent, blog / "runs" / "mine")
    (blog / "config.toml").write_text('title = "My blog"\n')
    copy_of = blog / "runs" / "mine" / "features" / store.name
    mine = EncoderChoice(run=blog / "runs" / "mine")
    assert EncoderChoice().or_default(copy_of) == mine
    (blog / "runs" / "mine" / "features" / "config.toml").write_bytes(b"\xff")
    assert EncoderChoice().or_default(copy_of) == mine
    assert EncoderChoice().or_default(blog / "x.h5").run is None
    says("search", videos / "part.mp4", "--store", copy_of, "-k", 1)
