"""One step of training: clips, losses, gradients, update."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trainer.ascnet import Losses
from trainer.augment import augment, draw_numbers
from trainer.batches import part_size
from trainer.checkpoint import write_state
from trainer.clips import ClipBatch
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.guards import EarlyNumber, no_number, no_number_at_first
from trainer.network import last_or_alone, precision
from trainer.ranks import Rank, own_pairs, wait_for_all
from trainer.schedules import scaled_lr, target_momentum, warmup_cosine
from trainer.state import TrainingState
from trainer.training_set import TrainingSet
from trainer.transfer import send

# What random numbers are for. 0 (order) and 1 (clips) are in trainer.requests, 2 and 3 in
# trainer.stream_order.
AUGMENT, ANY_LAYER, NEIGHBOUR = 4, 5, 6


@dataclass(frozen=True)
class Stepper:
    """Takes steps of one run; all that is random in a step comes from (seed, step, rank)."""

    run: Path
    settings: Config
    data: TrainingSet
    state: TrainingState
    network: nn.Module  # the state's model, as it is called
    total: int  # steps of the run
    rank: Rank
    device: torch.device

    def take(self, step: int, batches: Iterator[ClipBatch]) -> tuple[Losses, torch.Tensor]:
        """Update the state with the next `optim.accumulate` batches; what the last of them cost,
        and its videos (int64, N), come back. Raises TrainerError if a loss is no number."""
        state, parts = self.state, self.settings.optim.accumulate
        torch.manual_seed(seed_of(self.settings.seed, step, ANY_LAYER, self.rank.number))
        state.optimiser.zero_grad(set_to_none=True)
        for part in range(parts):
            batch = next(batches)
            with last_or_alone(self.network, part == parts - 1):
                losses = self._losses(batch, step, part)
                loss = EarlyNumber(losses.loss)
                state.scaler.scale(losses.total / parts).backward()
            self._must_be_finite(loss.read(), batch, step)
        self._update(step)
        return losses, batch.videos

    def _losses(self, batch: ClipBatch, step: int, part: int) -> Losses:
        settings = self.settings
        number = step * settings.optim.accumulate + part
        clips = self._augmented(batch, number)
        groups = torch.tensor([self.data.groups[v] for v in batch.videos.tolist()])
        with precision(settings.device, self.device):
            losses: Losses = self.network(
                clips,
                send(batch.strides, self.device),
                send(batch.videos, self.device),
                send(groups, self.device),
                with_speed=self.with_speed(step),
                scores=self._scores(number),
            )
        return losses

    def _scores(self, number: int) -> torch.Tensor | None:
        """float32, this rank's clips of the joint batch with this number x bank: what SCP goes by
        where its neighbour is any other video. Drawn for the joint batch, on the CPU: ranks share
        it, and every device draws the same."""
        own = self.settings.objective
        if own.neighbour != "random":
            return None
        generator = torch.Generator().manual_seed(seed_of(self.settings.seed, number, NEIGHBOUR))
        clips = 2 * part_size(self.settings, self.rank.world)
        joint = torch.rand(clips, own.bank, generator=generator)
        return send(own_pairs(joint, self.rank), self.device)

    def with_speed(self, step: int) -> bool:
        """Whether SCP has started."""
        return step >= self.settings.objective.speed_warmup * self.total

    def _augmented(self, batch: ClipBatch, number: int) -> torch.Tensor:
        """This rank's clips of the joint batch with this number."""
        seed = seed_of(self.settings.seed, number, AUGMENT)
        generator = torch.Generator().manual_seed(seed)
        joint = draw_numbers(2 * part_size(self.settings, self.rank.world), generator)
        numbers = send(own_pairs(joint, self.rank), self.device)
        sizes = send(batch.sizes, self.device)
        own = self.settings.data
        clips = augment(batch.frames, sizes, self.settings.augment, own.size, numbers)
        if self.settings.device.channels_last:
            clips = clips.contiguous(memory_format=torch.channels_last_3d)
        return clips

    def learning_rate(self, step: int) -> float:
        own = self.settings.optim
        return scaled_lr(own.lr, own.batch) * warmup_cosine(step, self.total, own.warmup)

    def _update(self, step: int) -> None:
        state, own = self.state, self.settings.optim
        for group in state.optimiser.param_groups:
            group["lr"] = self.learning_rate(step)
        if own.clip:
            state.scaler.unscale_(state.optimiser)
            trained = [p for p in state.model.parameters() if p.requires_grad]
            nn.utils.clip_grad_norm_(trained, own.clip)
        state.scaler.step(state.optimiser)
        state.scaler.update()
        momentum = target_momentum(step, self.total, self.settings.objective.momentum)
        state.model.update_target(momentum)

    def _must_be_finite(self, loss: float, batch: ClipBatch, step: int) -> None:
        """The loss is that of all ranks, so all of them come here together."""
        if math.isfinite(loss):
            return
        kept = self.run / f"failed-step-{step + 1:08d}-rank{self.rank.number}.pt"
        names = [self.data.videos[v].name for v in batch.videos.tolist()]
        clips = {"frames": batch.frames, "sizes": batch.sizes, "strides": batch.strides}
        where = f"Its clips, and the weights before it, are in {kept}."
        try:
            write_state(kept, self.state.state_dict() | clips | {"step": step, "videos": names})
        except TrainerError:
            where = f"Its clips could not be kept: no room for {kept}."
        wait_for_all()  # the first to end takes the others with it
        if step == 0:
            raise no_number_at_first(loss, where, self.settings.model.init)
        raise no_number(f"The loss is {loss}", step + 1, where)


def seed_of(*numbers: int) -> int:
    """A seed for torch that is a function of the numbers: seed, step, what for, rank."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
