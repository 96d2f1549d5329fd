"""A run that somebody else made starts no program, asks no server, and keeps no password."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ascnet import load_backbone
from tests.commands import refused, run_ascnet
from tests.security.traps import Trap, listening
from trainer.config.recipe_file import override
from trainer.data.streaming.reader import stream_shards
from trainer.data.streaming.transport import shown, url_of, without_password
from trainer.errors import TrainerError
from trainer.run.run_directory import new_folder, record_of, sources_to_resume, start_run


@pytest.fixture
def trap(tmp_path) -> Trap:
    return Trap(tmp_path / "started")


@pytest.fixture
def shared(finished_run, tmp_path) -> Path:
    """A run as another gave it."""
    shutil.copytree(finished_run, tmp_path / "shared")
    return tmp_path / "shared"


def with_source(run: Path, source: str) -> None:
    """As if the run had been trained on `source`."""
    path = run / "config.toml"
    (own,) = record_of(run)["shards"]
    assert path.read_text().count(f'"{own}"') > 0
    path.write_text(path.read_text().replace(f'"{own}"', repr(source)))


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--set", "data.workers=1")])
def test_resuming_starts_no_program_that_the_run_names(shared, trap, shards, tmp_path, more):
    command = trap.command(f"cat {shards}/{{}}")
    with_source(shared, command)
    said = refused("train", "--run", "shared", "--resume", *more, cwd=tmp_path)
    assert not trap.is_sprung
    assert shown(command) in said and "--trust-source" in said
    assert "ascnet train 'pipe:touch" in said and "--run shared --resume" in said


@pytest.mark.parametrize(
    "words",
    [
        ("train",),
        ("evaluate", "--task", "knn"),
        ("report",),
        ("export", "shared", "--to", "safetensors"),
        ("embed", "--shards", "shards"),
        ("embed", "no-videos"),
        ("search", "query.mp4"),
        ("train", "shards", "--recipe", "shared/config.toml", "--dry-run"),
    ],
)
def test_no_command_starts_what_a_run_names(shared, trap, shards, tmp_path, words):
    (tmp_path / "runs").mkdir()
    shared.rename(tmp_path / "runs" / "shared")
    (tmp_path / "shared").symlink_to("runs/shared")
    (tmp_path / "shards").symlink_to(shards)
    (tmp_path / "no-videos").mkdir()
    with_source(tmp_path / "shared", trap.command(f"cat {shards}/{{}}"))
    more = ["--resume"] if words == ("train",) else []
    run_ascnet(*words, *more, cwd=tmp_path)
    load_backbone(tmp_path / "shared")
    assert not trap.is_sprung


def test_resuming_asks_no_server_that_the_run_names(shared, tmp_path):
    with listening() as (url, asked):
        with_source(shared, f"{url}/set")
        said = refused("train", "--run", "shared", "--resume", "--dry-run", cwd=tmp_path)
        assert f"{url}/set" in said and "--trust-source" in said
        assert not asked
        trusting = ["train", "--run", "shared", "--resume", "--dry-run", "--trust-source"]
        refused(*trusting, cwd=tmp_path)
        assert asked


def test_the_same_source_again_or_a_flag_confirms_it(tiny, training_set, trap, shards, tmp_path):
    """And so a requeued command goes on without a question."""
    command = trap.command(f"cat {shards}/{{}}")
    piped = replace(training_set, sources=dict.fromkeys(training_set.sources, command))
    start_run(tmp_path / "run", tiny, piped)
    go_on = ["--run", "run", "--resume", "--dry-run"]
    refused("train", *go_on, cwd=tmp_path)
    assert not trap.is_sprung
    for words in (["train", command, *go_on], ["train", *go_on, "--trust-source"]):
        assert run_ascnet(*words, cwd=tmp_path).returncode == 0
        assert trap.is_sprung
        trap.path.unlink()


def test_local_folders_need_no_word(finished_run, shards):
    assert sources_to_resume(finished_run, trusted=False) == [str(shards)]


SECRET = [
    "http://me:hunter2@host/ucf101",
    "https://me:hun@ter:hunter2@host:8/ucf101?token=hunter2",
    "pipe:curl -s https://me:hunter2@host/{} | cat",
    "pipe:curl 'https://hunter2@host/{}'",
]


@pytest.mark.parametrize("source", SECRET)
def test_a_password_is_in_no_file_of_the_run(tiny, training_set, tmp_path, source):
    data = replace(training_set, sources=dict.fromkeys(training_set.sources, source))
    run = tmp_path / "run"
    start_run(run, tiny, data)
    assert not [p for p in run.rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]
    for trusted in (False, True):
        with pytest.raises(TrainerError, match="password in that address is not kept") as caught:
            sources_to_resume(run, trusted)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["ftp://me:hunter2@host/x", "s3://hunter2@b", "http://me:hunter2@["]
)
def test_a_password_is_in_no_error(source):
    with pytest.raises(TrainerError) as caught:
        url_of(source, "x.tar")
    assert "hunter2" not in str(caught.value)


def test_what_is_no_password_stays():
    for source in ("pipe:cat x@y?z", "pipe:ssh me@host cat /a/{}", "http://host/a@b/c", "/a@b/c"):
        assert without_password(source) == source


def test_nothing_in_a_shown_source_moves_the_cursor():
    assert shown("pipe:\x1b[2Jcat {}") == "pipe:\\x1b[2Jcat {}"


@pytest.mark.parametrize(
    "name", ["x/../../ESCAPED", "../ESCAPED", "/ESCAPED", "..", ".", "", "a\nb", "x" * 300]
)
def test_names_that_become_paths_are_plain(tiny, tmp_path, name):
    with pytest.raises(TrainerError, match=r"recipe is .* plain name"):
        override(tiny, (f"recipe={name!r}".replace("'", '"'),))
    with pytest.raises(TrainerError, match=r"data\.split is .* plain name"):
        override(tiny, (f"data.split={name!r}".replace("'", '"'),))


def test_a_recipe_makes_no_run_outside_runs(shards, tmp_path):
    (tmp_path / "r.toml").write_text('recipe = "x/../../ESCAPED"\n')
    (tmp_path / "in").mkdir()
    said = refused("train", shards, "--recipe", "../r.toml", cwd=tmp_path / "in")
    assert "recipe is 'x/../../ESCAPED'" in said
    assert not list((tmp_path / "in").iterdir())


@pytest.mark.parametrize("name", ["my recipe", "r3d18+flips", "日本", "v1.2", ".hidden"])
def test_other_names_may_stay(tiny, tmp_path, name):
    changed = override(tiny, (f'recipe="{name}"',))
    assert new_folder(tmp_path, changed.recipe).parent == tmp_path


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 100_000, "[run]\nshards = [3]", "[run]\nshards = 'pipe:x'"]
)
def test_a_config_of_others_is_refused_in_a_sentence(shared, tmp_path, text):
    (shared / "config.toml").write_text(text)
    for words in (["train", "--run", "shared", "--resume"], ["evaluate", "--run", "shared"]):
        assert "config.toml" in refused(*words, cwd=tmp_path)
    run_ascnet("report", "shared", cwd=tmp_path)
    (tmp_path / "r.toml").write_text(text)
    run_ascnet("train", "--recipe", "r.toml", cwd=tmp_path)


def test_weights_to_begin_with_are_a_file(tiny, training_set, tmp_path):
    settings = override(tiny, ("model.init=/dev/zero",))
    with pytest.raises(TrainerError, match="cannot be read: it is no regular file"):
        start_run(tmp_path / "run", settings, training_set)


def test_a_folder_s_name_is_no_command(dataset, trap, tmp_path, monkeypatch):
    """Nor is any other path."""
    monkeypatch.chdir(tmp_path)
    parent = Path(trap.command("cat {}/x"))
    videos = [replace(v, shard=parent / v.shard.name) for v in dataset.videos]
    (shard, *_) = stream_shards(videos, {})
    assert shard.url.startswith("/")


def test_nothing_in_an_error_moves_the_cursor(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n\x1b[2Jgone.avi,a\n")
    said = refused("build", "csv", "--source", "t.csv", cwd=tmp_path)
    assert "\\x1b[2Jgone.avi" in said and "\x1b" not in said
    said = refused("show", "a\x1b[2J", "--video", "0", cwd=tmp_path)
    assert "a\\x1b[2J" in said and "\x1b" not in said
