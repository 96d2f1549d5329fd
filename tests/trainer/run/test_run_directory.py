import re
import shutil
from dataclasses import replace

import pytest

from trainer.config.recipe_file import override
from trainer.data.training_set import gather
from trainer.errors import TrainerError
from trainer.run.run_directory import (
    is_of_this_launch,
    is_run,
    must_be_same,
    new_folder,
    record_of,
    run_of_this_launch,
    shards_of,
    start_run,
)


def test_what_a_run_writes_down(finished_run, shards):
    assert shards_of(finished_run) == [str(shards)]
    record = record_of(finished_run)
    assert record["counts"][str(shards)]["expected"] == 16
    assert record["code"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'title = "my blog"\n', r"config\.toml does not say under \[run\] what was trained on"),
        (b'[run]\ncode = "1"\n', "does not say under"),
        (b"run = 3\n", "does not say under"),
        (b"[run\n", r"config\.toml is damaged, or not valid TOML: .* Copy it again"),
        (b"\xff\xfe", r"config\.toml is damaged, or not valid TOML: .* Copy it again"),
    ],
)
def test_a_config_that_is_of_no_run_or_damaged(tmp_path, content, said):
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(TrainerError, match=said):
        shards_of(tmp_path)
    assert not is_run(tmp_path)


def test_what_is_a_run(finished_run, tmp_path):
    assert is_run(finished_run)
    assert not is_run(tmp_path)
    with pytest.raises(TrainerError, match="is not a run directory: there is no"):
        record_of(tmp_path)


def test_a_run_is_not_overwritten(finished_run, tiny, training_set):
    with pytest.raises(TrainerError, match="holds a run already"):
        start_run(finished_run, tiny, training_set)


def test_resuming_on_other_shards_is_refused(finished_run, shards, tiny, training_set, tmp_path):
    must_be_same(finished_run, tiny, training_set, 1)
    shutil.copytree(shards, tmp_path / "copy")
    moved = gather({tmp_path / "copy": str(tmp_path / "copy")}, tiny.data)
    must_be_same(finished_run, tiny, moved, 1)
    start_run(tmp_path / "run", tiny, moved)
    (tmp_path / "copy" / "dataset.json").write_text("{}")
    with pytest.raises(TrainerError, match="was built anew since"):
        must_be_same(tmp_path / "run", tiny, moved, 1)
    with pytest.raises(TrainerError, match=r"was started on .*folder, not on .*copy"):
        must_be_same(finished_run, tiny, moved, 1)


def test_ways_of_going_on_that_would_give_other_steps(tiny, training_set, tmp_path):
    streaming = override(tiny, ("data.streaming=true",))
    apart = override(tiny, ("device.sync_bn=false",))
    for name, settings in {"jump": tiny, "stream": streaming, "apart": apart}.items():
        start_run(tmp_path / name, settings, training_set, ranks=2)
    remote = replace(training_set, sources=dict.fromkeys(training_set.sources, "http://server/x"))
    start_run(tmp_path / "remote", tiny, remote, ranks=2)
    must_be_same(tmp_path / "jump", tiny, training_set, 1)
    for name, settings in {"stream": streaming, "apart": apart}.items():
        must_be_same(tmp_path / name, settings, training_set, 2)
        with pytest.raises(TrainerError, match="started with 2 processes, and now there are 1"):
            must_be_same(tmp_path / name, settings, training_set, 1)
    with pytest.raises(TrainerError, match=r"were streamed, and these would be read by jumping"):
        must_be_same(tmp_path / "remote", tiny, training_set, 2)
    with pytest.raises(TrainerError, match=r"data\.streaming = False \(was True\)"):
        must_be_same(tmp_path / "stream", tiny, training_set, 2)


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ("ranks = 1", "", r"\(ranks\)"),
        ("shards = ", "shards = []", r"\(shards\)"),
    ],
)
def test_a_run_that_says_too_little_is_not_resumed(
    tiny, training_set, tmp_path, line, instead, named
):
    run = tmp_path / "run"
    start_run(run, tiny, training_set)
    text = (run / "config.toml").read_text()
    changed = re.sub(rf"^{line}(\[[^\]]*\])?$", instead, text, flags=re.MULTILINE)
    assert changed != text
    (run / "config.toml").write_text(changed)
    with pytest.raises(TrainerError, match=rf"{named}: it was changed by hand, or .* version"):
        must_be_same(run, tiny, training_set, 1)


def test_other_weights_to_start_with_are_refused(tiny, training_set, tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"some")
    settings = override(tiny, (f"model.init={weights}",))
    start_run(tmp_path / "run", settings, training_set)
    must_be_same(tmp_path / "run", settings, training_set, 1)
    weights.write_bytes(b"others")
    with pytest.raises(TrainerError, match=r"w\.pth was changed since"):
        must_be_same(tmp_path / "run", settings, training_set, 1)


def test_runs_of_one_second_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "20300101-000000")
    names = [new_folder(tmp_path / "runs", "demo").name for _ in range(3)]
    assert names == ["20300101-000000-demo", "20300101-000000-demo-2", "20300101-000000-demo-3"]


def test_a_run_knows_the_call_of_torchrun_that_trains_it(tiny, training_set, tmp_path, monkeypatch):
    variable = "TORCHELASTIC_ERROR_FILE"
    start_run(tmp_path / "alone", tiny, training_set)
    monkeypatch.setenv(variable, "/tmp/torchelastic_a/none_b/attempt_0/0/error.json")
    assert run_of_this_launch(tmp_path) is None
    start_run(tmp_path / "own", tiny, training_set)
    monkeypatch.setenv(variable, "/tmp/torchelastic_c/none_d/attempt_0/0/error.json")
    start_run(tmp_path / "other", tiny, training_set)
    monkeypatch.setenv(variable, "/tmp/torchelastic_a/none_b/attempt_1/0/error.json")
    assert run_of_this_launch(tmp_path) == tmp_path / "own"
    assert is_of_this_launch(tmp_path / "own") and not is_of_this_launch(tmp_path / "other")
    monkeypatch.delenv(variable)
    assert run_of_this_launch(tmp_path) is None
    assert not is_of_this_launch(tmp_path / "alone")
