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


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = checkpoint.save(tmp_path, 3, {"model": {}})
    path.write_bytes(b"damaged")
    with pytest.raises(TrainerError, match=r"00000003.pt cannot be read"):
        checkpoint.load_last(tmp_path)


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
