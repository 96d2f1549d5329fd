import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from builder import atomic
from trainer import pretrain
from trainer.config import recipe_file
from trainer.errors import TrainerError
from trainer.run import checkpoint
from trainer.run.run_directory import must_be_same


def test_the_last_two_are_kept(tmp_path):
    for step in (3, 6, 9):
        checkpoint.save(tmp_path, step, {"model": {"w": torch.full((2,), float(step))}})
    names = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
    assert names == ["00000006.pt", "00000009.pt"]
    path, state = checkpoint.load_last(tmp_path)
    assert path.name == "00000009.pt"
    assert state["step"] == 9 and state["model"]["w"].tolist() == [9, 9]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_half_written_checkpoint_is_not_taken(tmp_path):
    checkpoint.save(tmp_path, 3, {"model": {}})
    (checkpoint.folder_of(tmp_path) / "00000006.partial").write_bytes(b"half")
    assert checkpoint.load_last(tmp_path)[1]["step"] == 3


def test_a_checkpoint_of_a_step(tmp_path):
    for step in range(1, 101):
        checkpoint.save(tmp_path, step, {"model": {}}, set(range(101)))
    (checkpoint.folder_of(tmp_path) / "best.pt").write_bytes(b"not ours")
    assert checkpoint.kept_steps(tmp_path) == list(range(1, 101))
    assert checkpoint.load_step(tmp_path, 7)[1]["step"] == 7
    with pytest.raises(
        TrainerError, match=r"of step 0; there are those of 1, 2, .*20, \.\.\., 81, "
    ):
        checkpoint.load_step(tmp_path, 0)
    with pytest.raises(TrainerError, match="There is no run"):
        checkpoint.load_step(tmp_path / "other", 7)


def test_a_copy_under_another_name_is_no_checkpoint(tmp_path):
    for step in (3, 6):
        checkpoint.save(tmp_path, step, {"model": {}})
    folder = checkpoint.folder_of(tmp_path)
    shutil.copy(folder / "00000003.pt", folder / "best.pt")
    assert checkpoint.load_last(tmp_path)[1]["step"] == 6
    checkpoint.save(tmp_path, 9, {"model": {}})
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["00000006.pt", "00000009.pt", "best.pt"]
    for step in (6, 9):
        (folder / f"{step:08d}.pt").unlink()
    (tmp_path / checkpoint.CONFIG_FILE).touch()
    with pytest.raises(TrainerError, match="has no checkpoint yet"):
        checkpoint.load_last(tmp_path)


def flip_a_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "one bit"])
def test_a_damaged_last_checkpoint_costs_the_work_since_the_one_before(tmp_path, damage, caplog):
    for step in (3, 6):
        checkpoint.save(tmp_path, step, {"model": {"w": torch.full((1000,), float(step))}})
    last = checkpoint.list_checkpoints(tmp_path)[-1]
    whole = last.read_bytes()
    if damage == "one bit":  # in the middle of a tensor: torch.load would not see it
        flip_a_bit(last, whole.index(torch.full((4,), 6.0).numpy().tobytes()) + 99)
    else:
        last.write_bytes({"cut": whole[:-1000], "empty": b"", "other": b"no checkpoint"}[damage])
    path, state = checkpoint.load_last(tmp_path)
    assert (path.name, state["step"]) == ("00000003.pt", 3)
    assert "00000006.pt is damaged; the checkpoint before it is taken" in caplog.text


class Runs:
    """What would run code where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_runs_nothing(tmp_path):
    path = checkpoint.save(tmp_path, 3, {"model": {}, "more": Runs(tmp_path / "ran")})
    assert checkpoint.read_state(path) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_a_fault_of_the_disk_or_the_memory_is_no_damage(tmp_path, monkeypatch, error):
    """Or else an intact file would be passed over, and deleted later."""
    for step in (2, 4):
        checkpoint.save(tmp_path, step, {"model": {}})

    def failing(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", failing)
    with pytest.raises(type(error)):
        checkpoint.load_last(tmp_path)


def test_what_is_saved_after_falling_back_stays(tmp_path):
    """Two damaged ones have higher numbers than the step that is taken anew."""
    for step in (2, 4, 6):
        checkpoint.save(tmp_path, step, {"model": {}}, {2, 6})
    for path in checkpoint.list_checkpoints(tmp_path)[-2:]:
        path.write_bytes(b"damaged")
    assert checkpoint.load_last(tmp_path)[1]["step"] == 2
    checkpoint.save(tmp_path, 3, {"model": {}}, {2, 6})
    assert [int(path.stem) for path in checkpoint.list_checkpoints(tmp_path)] == [2, 3]
    assert checkpoint.load_last(tmp_path)[1]["step"] == 3


def test_nothing_but_damaged_checkpoints(tmp_path):
    for step in (3, 6):
        checkpoint.save(tmp_path, step, {"model": {}}).write_bytes(b"damaged")
    with pytest.raises(TrainerError, match=r"All checkpoints .*00000003.pt, 00000006.pt"):
        checkpoint.load_last(tmp_path)


def test_milestones():
    assert checkpoint.milestones(100, 4) == {25, 50, 75, 100}
    assert checkpoint.milestones(10, 4) == {3, 5, 8, 10}
    assert checkpoint.milestones(2, 4) == {1, 2}
    assert checkpoint.milestones(100, 0) == set()


def test_milestones_are_kept_beside_the_last_two(tmp_path):
    for step in range(1, 9):
        checkpoint.save(tmp_path, step, {"model": {}}, checkpoint.milestones(8, 2))
    assert [int(path.stem) for path in checkpoint.list_checkpoints(tmp_path)] == [4, 7, 8]


def test_a_full_disk_is_named_and_costs_no_checkpoint(tmp_path, monkeypatch):
    """/dev/full refuses every write, as a full disk does."""
    checkpoint.save(tmp_path, 3, {"model": {}})
    full = Path("/dev/full")
    monkeypatch.setattr(atomic, "open_new", lambda path: full.open("wb"))
    with pytest.raises(TrainerError, match=r"Cannot write .*00000006.pt: No space left on device"):
        checkpoint.save(tmp_path, 6, {"model": {}})
    assert [path.name for path in checkpoint.folder_of(tmp_path).iterdir()] == ["00000003.pt"]


def test_no_checkpoint(tmp_path):
    with pytest.raises(TrainerError, match=r"There is no run .*none"):
        checkpoint.load_last(tmp_path / "none")
    with pytest.raises(TrainerError, match="is not a run directory"):
        checkpoint.load_last(tmp_path)
    (tmp_path / checkpoint.CONFIG_FILE).touch()
    with pytest.raises(TrainerError, match="has no checkpoint yet"):
        checkpoint.load_last(tmp_path)
    (tmp_path / checkpoint.CONFIG_FILE).unlink()
    with pytest.raises(TrainerError, match="No trained run in"):
        checkpoint.newest_run(tmp_path)


def test_newest_run(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / checkpoint.CONFIG_FILE).write_text("")
    for name in ("b", "a"):
        checkpoint.save(tmp_path / name, 1, {"model": {}})
    assert checkpoint.newest_run(tmp_path).name == "a"
    (tmp_path / "c" / checkpoint.CONFIG_FILE).write_text("started last, killed at once")
    assert checkpoint.newest_run(tmp_path).name == "a"
    assert checkpoint.newest_run(tmp_path, trained=False).name == "c"


def test_backbone_of_a_run(finished_run, tiny):
    trained = checkpoint.load_backbone(finished_run)
    assert trained.config == tiny
    assert trained.step == 8
    assert len(trained.sha256) == 64
    weights = checkpoint.load_last(finished_run)[1]["model"]
    own = trained.backbone.state_dict()
    assert len(own) == 72
    assert all(torch.equal(v, weights[f"encoder.backbone.{k}"]) for k, v in own.items())


def edited(run, *changes):
    """A run whose config.toml was changed by hand."""
    path = run / "config.toml"
    text = path.read_text()
    for old, new in changes:
        assert f"\n{old}\n" in text
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    path.write_text(text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lr = 0.2", "lr = 0.3", r"optim\.lr = 0\.3 \(was 0\.2\)"),
        ("seed = 0", "seed = 9", r"seed = 9 \(was 0\)"),
        ("steps = 8", "steps = 9", r"optim\.steps = 9 \(was 8\)"),
        ('backbone = "r3d-tiny"', 'backbone = "c3d"', r"model\.backbone = c3d \(was r3d-tiny\)"),
        ("bank = 32", "bank = 64", r"objective\.bank = 64 \(was 32\)"),
        ("flip = 0.5", "flip = 0.0", r"augment\.flip = 0\.0 \(was 0\.5\)"),
    ],
)
def test_settings_that_were_changed_by_hand_are_named(
    old, new, said, finished_run, tiny, training_set, tmp_path
):
    """By who goes on with the run, and by who takes its backbone."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    edited(run, (old, new))
    with pytest.raises(TrainerError, match=said):
        checkpoint.load_backbone(run)
    changed = recipe_file.load(run / "config.toml")
    with pytest.raises(TrainerError, match=said):
        pretrain.train(run, changed, training_set, torch.device("cpu"))
    with pytest.raises(TrainerError, match=said):
        must_be_same(run, changed, training_set, 1)
    for path in checkpoint.list_checkpoints(run):
        path.unlink()
    with pytest.raises(TrainerError, match=said):  # before the first checkpoint, too
        must_be_same(run, changed, training_set, 1)


def test_settings_that_may_change_may_be_changed_by_hand(finished_run, training_set, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    edited(run, ("checkpoint_every = 3", "checkpoint_every = 1"), ("workers = 1", "workers = 2"))
    changed = recipe_file.load(run / "config.toml")
    must_be_same(run, changed, training_set, 1)
    assert pretrain.train(run, changed, training_set, torch.device("cpu"))["step"] == 8
    assert checkpoint.load_backbone(run).step == 8


def test_a_run_of_a_version_that_kept_no_settings(finished_run, training_set, tmp_path):
    """It is opened as ever; tensors that do not fit are a sentence, not pages."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    for path in checkpoint.list_checkpoints(run):
        state = torch.load(path, weights_only=True)
        del state["settings"]
        torch.save(state, path)
    lines = (run / "config.toml").read_text().splitlines()
    (run / "config.toml").write_text("\n".join(x for x in lines if not x.startswith("settings =")))
    assert checkpoint.load_backbone(run).step == 8
    edited(run, ('backbone = "r3d-tiny"', 'backbone = "r3d18"'), ("bank = 32", "bank = 64"))
    for fails in (
        lambda: checkpoint.load_backbone(run),
        lambda: pretrain.train(
            run, recipe_file.load(run / "config.toml"), training_set, torch.device("cpu")
        ),
    ):
        with pytest.raises(
            TrainerError, match=r"does not fit the settings in .*Put model.back"
        ) as e:
            fails()
        assert len(str(e.value)) < 500


def test_the_newest_run_without_a_checkpoint_is_named(finished_run, tmp_path, caplog):
    for number, name in enumerate(("old", "taken", "new", "newer")):
        shutil.copytree(finished_run, tmp_path / name)
        for path in (
            tmp_path / name / "config.toml",
            *checkpoint.list_checkpoints(tmp_path / name),
        ):
            os.utime(path, (1000 + number, 1000 + number))
    assert checkpoint.newest_run(tmp_path) == tmp_path / "newer"
    assert not caplog.records
    for name in ("new", "newer"):
        shutil.rmtree(tmp_path / name / "checkpoints")
    assert checkpoint.newest_run(tmp_path) == tmp_path / "taken"
    assert f"{tmp_path / 'taken'} is taken. Newer, but without a checkpoint: " in caplog.text
    assert f"{tmp_path / 'newer'}, {tmp_path / 'new'} (--run" in caplog.text
    assert checkpoint.newest_run(tmp_path, trained=False) == tmp_path / "newer"
    for name in ("old", "taken"):
        shutil.rmtree(tmp_path / name)
    with pytest.raises(TrainerError, match=r"No trained run in .*new has no checkpoint yet"):
        checkpoint.newest_run(tmp_path)
