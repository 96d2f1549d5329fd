from itertools import pairwise

import pytest
import torch

from tests.float32_state import WAYS, look, multiplying
from trainer import float32, pretrain
from trainer.config.recipe_file import override
from trainer.config.settings import Device
from trainer.distributed import Rank
from trainer.execution import backends
from trainer.float32 import float32_products

BEFORE = [(), *((way,) for way in WAYS), *pairwise(WAYS), *pairwise(reversed(WAYS))]
EXACT = {
    "torch.get_float32_matmul_precision()": "highest",
    "torch.backends.cuda.matmul.allow_tf32": False,
    "torch.backends.cuda.matmul.fp32_precision": "ieee",
    "torch.backends.mkldnn.matmul.fp32_precision": "ieee",
    "torch.backends.mkldnn.conv.fp32_precision": "ieee",
}


@pytest.mark.parametrize("before", BEFORE, ids=" and ".join)
@pytest.mark.parametrize("tf32", [False, True])
def test_both_interfaces_say_the_same_and_are_put_back(before: tuple[str, ...], tf32: bool) -> None:
    with multiplying(*before) as said:
        with float32_products(tf32):
            inside = look()
            assert "no answer" not in inside.values()
            assert EXACT.items() <= inside.items()
            assert inside["torch.backends.cudnn.allow_tf32"] is tf32
            for part in ("conv", "rnn"):
                value = inside[f"torch.backends.cudnn.{part}.fp32_precision"]
                assert value == ("tf32" if tf32 else "ieee")
            with float32_products():
                assert look()["torch.backends.cudnn.conv.fp32_precision"] == "ieee"
            assert look() == inside
        assert look() == said


def test_what_fails_inside_is_put_back_too() -> None:
    with multiplying(WAYS[0]) as said:
        with pytest.raises(ValueError, match="inside"), float32_products():
            raise ValueError("inside")
        assert look() == said


def test_older_torch_has_one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of 2.6 to 2.8."""
    monkeypatch.setattr(float32, "_part", lambda name: None)
    with multiplying():
        torch.set_float32_matmul_precision("high")
        with float32_products(tf32=True):
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        torch.backends.cudnn.allow_tf32 = False
        with float32_products():
            assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    ("device", "asked", "tries"),
    [("cuda", None, True), ("cpu", None, False), ("cuda", False, False), ("cuda", True, True)],
)
def test_cudnn_tries_where_shapes_are_the_same(
    before: bool, device: str, asked: bool | None, tries: bool
) -> None:
    with multiplying(f"torch.backends.cudnn.benchmark = {before}") as said:
        with backends(Device(precision="tf32"), torch.device(device), asked):
            assert torch.backends.cudnn.benchmark is tries
            assert torch.backends.cudnn.allow_tf32
        with backends(Device(precision="bf16"), torch.device(device)):
            assert not torch.backends.cudnn.allow_tf32
        assert look() == said


@pytest.mark.parametrize("rank", [0, 1])
def test_training_leaves_the_process_as_it_was(tmp_path, tiny, monkeypatch, rank: int) -> None:
    seen = []
    monkeypatch.setattr(pretrain, "_begin", lambda *_: ())
    monkeypatch.setattr(pretrain, "_loop", lambda *_: seen.append(look()) or {})
    settings = override(tiny, ("device.precision=tf32",))
    with multiplying(WAYS[1], "torch.backends.cudnn.benchmark = True") as said:
        pretrain.train(tmp_path, settings, None, torch.device("cpu"), rank=Rank(rank, 2))
        assert look() == said
    assert EXACT.items() <= seen[0].items()
    assert seen[0]["torch.backends.cudnn.conv.fp32_precision"] == "tf32"
    assert seen[0]["torch.backends.cudnn.benchmark"] is False
