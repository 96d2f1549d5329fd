"""Dropout whose result does not depend on how many processes share the batch."""

import torch
from torch import nn
from torch.nn.functional import dropout

from trainer.distributed import this_rank


class JointDropout(nn.Dropout):
    """`nn.Dropout` with the mask that one process with the joint batch would draw: every rank draws
    the whole mask from the same seed and uses the rows of its share. Shares must be equal."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rank = this_rank()
        if rank.world == 1 or not self.training:
            return super().forward(input)
        joint = input.new_ones(len(input) * rank.world, *input.shape[1:])
        return input * dropout(joint, self.p)[rank.share(len(joint))]
