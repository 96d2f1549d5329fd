"""Dropout that does not depend on how many processes share the batch."""

import torch
from torch import nn
from torch.nn.functional import dropout

from trainer.distributed import this_rank


class JointDropout(nn.Dropout):
    """`nn.Dropout` with the mask that one process with the joint batch would draw: every rank draws
    all of it, from the same seed, and takes the rows of its share. Shares are equal."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rank = this_rank()
        if rank.world == 1 or not self.training:
            return super().forward(input)
        joint = input.new_ones(len(input) * rank.world, *input.shape[1:])
        return input * dropout(joint, self.p)[rank.share(len(joint))]
