"""The processes of one training, one a GPU (`torchrun`); a single one without ceremony."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from trainer.errors import TrainerError

_PATIENCE = timedelta(minutes=30)  # with ranks that do not answer; longer than a server is tried


@dataclass(frozen=True)
class Rank:
    """This process among those that train together."""

    number: int = 0
    world: int = 1


ALONE = Rank()


@contextmanager
def together(device_type: str) -> Iterator[tuple[Rank, torch.device]]:
    """Join the processes that `torchrun` started, if it did; this process's rank and its device.
    Raises TrainerError where there are fewer GPUs than processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, torch.device(device_type)
        return
    device = torch.device(device_type)
    if device_type == "cuda":
        own = int(os.environ.get("LOCAL_RANK", "0"))
        if own >= torch.cuda.device_count():
            raise TrainerError(
                f"Process {own} of this machine finds no GPU of its own: there are "
                f"{torch.cuda.device_count()}. Start as many as there are GPUs: "
                f"torchrun --nproc-per-node={torch.cuda.device_count()} ..."
            )
        device = torch.device("cuda", own)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Rank(dist.get_rank(), dist.get_world_size()), device
    except RuntimeError as error:
        if re.search("closed by peer|reset by peer|NCCL|ProcessGroup", str(error)):
            raise TrainerError(
                "Another process of this training ended; its message is above or in its log."
            ) from error
        raise
    dist.destroy_process_group()  # after an error it might wait for the others


def processes_here() -> int:
    """How many of the processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Until every rank has come here."""
    if world() > 1:
        dist.barrier()


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of every rank's `values`, without gradient; `values` itself for a single rank."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_pairs(rows: torch.Tensor) -> torch.Tensor:
    """2B rows of every rank (the first clips of its B videos, then the second ones) to the 2BW
    rows that one rank with the joint batch would have: the first clips of all ranks in rank
    order, then the second ones. This rank's own rows keep their gradient."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows
    halves = [part.chunk(2) for part in parts]
    return torch.cat([first for first, _ in halves] + [second for _, second in halves])


def own_pairs(rows: torch.Tensor, rank: Rank) -> torch.Tensor:
    """A rank's rows of the joint 2BW rows: what `gather_pairs` puts together, taken apart."""
    first, second = rows.chunk(2)
    own = slice(
        rank.number * len(first) // rank.world, (rank.number + 1) * len(first) // rank.world
    )
    return torch.cat([first[own], second[own]])
