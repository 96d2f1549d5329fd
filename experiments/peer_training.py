"""Train a peer with the trainer's batches, augmentation, optimiser and schedules."""

from collections.abc import Generator

import torch

from experiments.peer_parts import Batch, Peer
from experiments.peers import PEER_OF
from trainer.backbones.base import Backbone
from trainer.config.settings import Config
from trainer.data.augment import augment_batch
from trainer.data.batches import training_batches
from trainer.data.clip_reader import ClipBatch, ClipReader, read_batches
from trainer.data.clip_sampler import Batches, Pairs, pair_requests
from trainer.data.training_set import TrainingSet
from trainer.data.transfer import on_device, send
from trainer.distributed import ALONE
from trainer.errors import TrainerError
from trainer.execution import backends, precision
from trainer.method.memory_bank import ClipLabels
from trainer.optimiser import make_optimiser
from trainer.random_streams import LAYERS, torch_seed
from trainer.schedules import scaled_lr, target_momentum, total_steps, warmup_cosine

_CPU = torch.device("cpu")


def train_peer(
    kind: str, settings: Config, data: TrainingSet, device: torch.device = _CPU
) -> Backbone:
    """Train a peer, and return its backbone. Raises TrainerError if the loss is NaN or infinite, or
    if a supervised peer lacks labels."""
    classes = torch.tensor(data.labels)
    if kind == "supervised" and bool((classes < 0).any()):
        raise TrainerError("Supervised training needs the class of every training video.")
    with backends(settings.device, device):
        return _train(kind, settings, data, classes, device)


def _train(
    kind: str, settings: Config, data: TrainingSet, classes: torch.Tensor, device: torch.device
) -> Backbone:
    optim = settings.optim
    total = total_steps(optim, len(data.videos))
    groups = torch.tensor(data.groups)
    torch.manual_seed(settings.seed)
    peer: Peer = PEER_OF[kind](settings, max(data.labels) + 1).train().to(device)
    peer = peer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = make_optimiser(peer, optim)
    batches = _long_batches if peer.long_clips else batches_of
    for step, batch in enumerate(batches(settings, data, total, device)):
        torch.manual_seed(torch_seed(settings.seed, step, LAYERS, 0))
        with precision(settings.device, device):
            loss = peer.loss(
                Batch(
                    clips=augment_batch(batch, settings, step),
                    classes=send(classes[batch.videos], device),
                    labels=ClipLabels(
                        stride=send(batch.strides, device),
                        video=send(batch.videos, device),
                        group=send(groups[batch.videos], device),
                    ),
                    share=step / total,
                )
            )
            if settings.objective.decorrelation:
                loss = loss + settings.objective.decorrelation * peer.correlated
        if not bool(loss.isfinite()):
            raise TrainerError(f"The loss of {kind} is {float(loss)} at step {step + 1}.")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        rate = scaled_lr(optim.lr, optim.batch)
        for group in optimiser.param_groups:
            group["lr"] = rate * warmup_cosine(step, total, optim.warmup)
        optimiser.step()
        peer.after_step(target_momentum(step, total, settings.objective.momentum))
    return peer.backbone


def batches_of(
    settings: Config, data: TrainingSet, total: int, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """The batches of pre-training, for all steps."""
    return training_batches(settings, data, 0, total, ALONE, device)


def _long_batches(
    settings: Config, data: TrainingSet, total: int, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """Batches of two clips of every video, both with twice the frames at the lowest stride."""
    clips = settings.data
    slow = min(clips.strides)
    pairs = Pairs(2 * clips.frames, (slow, slow), False, clips.short_videos, settings.seed)
    requests = pair_requests(data.timings, Batches(range(total), settings.optim.batch), pairs)
    reader, pinned = ClipReader(data.videos, clips.short_side), device.type == "cuda"
    return on_device(read_batches(reader, requests, clips.workers, pinned), device)
