"""Estimate the cost of a recipe before training: weights, operations, memory.

The model runs on torch's meta device, which tracks shapes and computes nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from trainer.config.settings import Config, Optim
from trainer.execution import AUTOCAST
from trainer.method.ascnet import Encoder, mlp
from trainer.method.memory_bank import MemoryBank


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. Activations are freed while gradients are made, so the sum is a little
    too high.

    Attributes:
        weights: of encoder and predictors, with their 16-bit copies under autocast
        target: the target network
        activations: tensors that the forward pass keeps for the backward pass
        clips: the encoder's input
    """

    weights: int
    gradients: int
    optimiser: int
    target: int
    bank: int
    activations: int
    clips: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


@dataclass(frozen=True)
class Estimate:
    """The cost of a recipe. A multiply-add counts as two operations. (Papers and torchvision often
    count one: their 40.7 "GFLOPs" of R3D-18 at 16x112x112 are 81.4 here.)

    Attributes:
        trained_weights: number of weights in backbone, projection heads and predictors
        clip_gflops: one clip through the backbone
        step_gflops: one step of all ranks: two clips a video, forward, backward, target network
    """

    backbone_weights: int
    trained_weights: int
    clip_gflops: float
    step_gflops: float
    memory: Memory

    def text(self) -> str:
        """The estimate as two lines of text."""
        parts = sorted(asdict(self.memory).items(), key=lambda part: -part[1])
        named = ", ".join(f"{_bytes(size)} {name}" for name, size in parts if size)
        return (
            f"{self.backbone_weights:,} weights in the backbone, {self.trained_weights:,} trained; "
            f"{self.clip_gflops:,.1f} GFLOPs a clip, {self.step_gflops:,.0f} a step\n"
            f"about {_bytes(self.memory.total)} of memory on a device: {named}"
        )


def estimate(settings: Config, ranks: int = 1) -> Estimate:
    """Estimate the cost of a training step, with the batch spread over `ranks` ranks.

    Operations are those of convolutions and linear layers. A device needs more memory than
    estimated, as two things are left out: what depends on machine and library (workspaces of
    convolutions, fragmentation, the CUDA context, gradient buckets of several ranks), and
    short-lived tensors (frames and their augmentation, gradients of activations, the target
    network's activations, similarities of a batch to the bank). Raises TrainerError for an unknown
    backbone.
    """
    data, optim = settings.data, settings.optim
    with torch.device("meta"):
        encoder = Encoder(settings.model)
        model = settings.model
        predictors = nn.ModuleList([mlp(model.dim, model.hidden, model.dim) for _ in range(2)])
        bank = MemoryBank(settings.objective.bank, model.dim)
    has_target = settings.objective.momentum > 0
    trained = _count(encoder) + _count(predictors)
    half = AUTOCAST.get(settings.device.precision)

    side = (3, data.frames, data.size, data.size)
    two_clips = torch.empty(2, *side, device="meta")
    flops = _step_flops(encoder, predictors, two_clips, has_target)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder.backbone(two_clips)
    clip_flops = counter.get_total_flops() / 2

    if half is not None:
        encoder.to(half)
        predictors.to(half)
    at_once = 2 * optim.batch // (optim.accumulate * ranks)
    saved = [_activations(encoder, predictors, (n, *side)) for n in (2, 4)]
    a_clip = (saved[1] - saved[0]) // 2  # the rest are batch-norm statistics, whatever the batch
    memory = Memory(
        weights=trained * (4 if half is None else 6),
        gradients=4 * trained,
        optimiser=4 * trained * _moments(optim),
        target=4 * _count(encoder) if has_target else 0,
        bank=sum(buffer.nbytes for buffer in bank.buffers()),
        activations=saved[0] + (at_once - 2) * a_clip,
        clips=at_once * two_clips[0].numel() * (4 if half is None else 6),
    )
    return Estimate(
        backbone_weights=_count(encoder.backbone),
        trained_weights=trained,
        clip_gflops=clip_flops / 1e9,
        step_gflops=flops * optim.batch / 1e9,
        memory=memory,
    )


def _activations(encoder: Encoder, predictors: nn.ModuleList, shape: tuple[int, ...]) -> int:
    clips = torch.empty(shape, dtype=next(encoder.parameters()).dtype, device="meta")
    known = [clips, *encoder.parameters(), *predictors.parameters()]
    return saved_bytes(lambda: _predict(predictors, *encoder(clips)[1:]), known)


def _step_flops(
    encoder: Encoder, predictors: nn.ModuleList, clips: Tensor, has_target: bool
) -> int:
    with FlopCounterMode(display=False) as counter:
        _, *embeddings = encoder(clips)
        target = counter.get_total_flops() if has_target else 0  # one more forward pass
        _predict(predictors, *embeddings).backward()
    return int(counter.get_total_flops() + target)


def _predict(predictors: nn.ModuleList, appearance: Tensor, speed: Tensor) -> Tensor:
    """A scalar that depends on all trained weights, to start the backward pass from."""
    return torch.stack([predictors[0](appearance), predictors[1](speed)]).sum()


def saved_bytes(forward: Callable[[], Tensor], known: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps from a forward pass for the backward pass: every storage once,
    without those of the `known` tensors (weights, inputs)."""
    kept: dict[int, UntypedStorage] = {}  # references, so that no address is reused

    def keep(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage

    def never(packed: None) -> Tensor:
        raise AssertionError("nothing goes backward here")

    with saved_tensors_hooks(keep, never):
        forward()
    others = {tensor.untyped_storage()._cdata for tensor in known}
    return sum(storage.nbytes() for address, storage in kept.items() if address not in others)


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _moments(optim: Optim) -> int:
    """Number of values that the optimiser keeps for each weight."""
    return {"adamw": 2, "lars": 1, "sgd": int(optim.momentum > 0)}[optim.optimiser]


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
