"""One training step: clips, losses, gradients, update."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer.config.settings import Config
from trainer.data.augment import augment, draw_numbers
from trainer.data.batches import part_size
from trainer.data.clip_reader import ClipBatch
from trainer.data.training_set import TrainingSet
from trainer.data.transfer import send
from trainer.distributed import Rank, own_pairs, wait_for_all
from trainer.errors import TrainerError
from trainer.execution import last_or_alone, precision
from trainer.method.ascnet import Embeddings, Losses
from trainer.method.guards import EarlyNumber, no_number, no_number_at_first
from trainer.method.memory_bank import ClipLabels
from trainer.random_streams import AUGMENTATION, LAYERS, torch_seed
from trainer.run.checkpoint import write_state
from trainer.schedules import scaled_lr, target_momentum, warmup_cosine
from trainer.training_state import TrainingState


@dataclass(frozen=True)
class Taken:
    """Results of a step for the log; with `optim.accumulate`, those of its last part.

    Attributes:
        joint: the target network's embeddings of the clips of all ranks
        videos: int64, N: positions of this rank's videos in the training set
    """

    losses: Losses
    joint: Embeddings
    videos: torch.Tensor


@dataclass(frozen=True)
class Stepper:
    """Takes the steps of a run. All randomness of a step derives from (seed, step, rank).

    Attributes:
        network: the state's model, wrapped for execution (compiled, data-parallel)
        total: number of steps in the run
    """

    run: Path
    settings: Config
    data: TrainingSet
    state: TrainingState
    network: nn.Module
    total: int
    rank: Rank
    device: torch.device

    def take(self, step: int, batches: Iterator[ClipBatch]) -> Taken:
        """Update the state with the next `optim.accumulate` batches. Raises TrainerError if a loss
        is NaN or infinite."""
        state, parts = self.state, self.settings.optim.accumulate
        torch.manual_seed(torch_seed(self.settings.seed, step, LAYERS, self.rank.number))
        state.optimiser.zero_grad(set_to_none=True)
        for part in range(parts):
            batch = next(batches)
            clips, labels = self._augmented(batch, step * parts + part), self._labels(batch)
            with last_or_alone(self.network, part == parts - 1):
                with precision(self.settings.device, self.device):
                    losses: Losses = self.network(clips, labels, self.with_speed(step))
                loss = EarlyNumber(losses.loss)
                state.scaler.scale(losses.total / parts).backward()
            joint = state.model.remember(losses.seen.target, labels)
            self._must_be_finite(loss.read(), batch, step)
        self._update(step)
        return Taken(losses, joint, batch.videos)

    def _labels(self, batch: ClipBatch) -> ClipLabels:
        groups = torch.tensor([self.data.groups[video] for video in batch.videos.tolist()])
        return ClipLabels(*(send(x, self.device) for x in (batch.strides, batch.videos, groups)))

    def with_speed(self, step: int) -> bool:
        """Whether SCP has started at this step (see `objective.speed_warmup`)."""
        return step >= self.settings.objective.speed_warmup * self.total

    def _augmented(self, batch: ClipBatch, number: int) -> torch.Tensor:
        """This rank's augmented clips of joint batch `number`: float32, 2B x 3 x T x H x W."""
        seed = torch_seed(self.settings.seed, number, AUGMENTATION)
        generator = torch.Generator().manual_seed(seed)
        joint = draw_numbers(2 * part_size(self.settings, self.rank.world), generator)
        numbers = send(own_pairs(joint, self.rank), self.device)
        data = self.settings.data
        clips = augment(batch.clips, self.settings.augment, data.size, numbers, data.normalise)
        if self.settings.device.channels_last:
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
        return clips

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step: scaled with the batch, with warm-up and cosine decay."""
        optim = self.settings.optim
        return scaled_lr(optim.lr, optim.batch) * warmup_cosine(step, self.total, optim.warmup)

    def _update(self, step: int) -> None:
        state, clip = self.state, self.settings.optim.clip
        for group in state.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        if clip:
            state.scaler.unscale_(state.optimiser)
            trained = [p for p in state.model.parameters() if p.requires_grad]
            nn.utils.clip_grad_norm_(trained, clip)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        momentum = target_momentum(step, self.total, self.settings.objective.momentum)
        state.model.update_target(momentum)

    def _must_be_finite(self, loss: float, batch: ClipBatch, step: int) -> None:
        """Raises TrainerError for a loss that is NaN or infinite, after saving the clips and the
        weights. The loss is the mean over all ranks, so either all ranks raise or none does."""
        if math.isfinite(loss):
            return
        path = self.run / f"failed-step-{step + 1:08d}-rank{self.rank.number}.pt"
        names = [self.data.videos[v].name for v in batch.videos.tolist()]
        clips = {"frames": [clip.clone() for clip in batch.clips], "strides": batch.strides}
        where = f"Its clips, and the weights before it, are in {path}."
        try:
            write_state(path, self.state.state_dict() | clips | {"step": step, "videos": names})
        except TrainerError:
            where = f"Its clips could not be kept: no room for {path}."
        wait_for_all()  # a rank that exits ends the others
        if step == 0:
            raise no_number_at_first(loss, where, self.settings.model.init)
        raise no_number(f"The loss is {loss}", step + 1, where)
