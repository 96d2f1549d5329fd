import pytest
import torch

from trainer import checkpoint
from trainer.errors import TrainerError


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


def test_a_full_disk_is_named_and_costs_no_checkpoint(tmp_path):
    """/dev/full refuses every write, as a full disk does."""
    checkpoint.save(tmp_path, 3, {"model": {}})
    (checkpoint.folder_of(tmp_path) / "00000006.partial").symlink_to("/dev/full")
    with pytest.raises(TrainerError, match=r"Cannot write .*00000006.pt: No space left on device"):
        checkpoint.save(tmp_path, 6, {"model": {}})
    assert [path.name for path in checkpoint.folder_of(tmp_path).iterdir()] == ["00000003.pt"]


def test_no_checkpoint(tmp_path):
    with pytest.raises(TrainerError, match="has no checkpoint yet"):
        checkpoint.load_last(tmp_path)
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
