"""The processes of one command, one per GPU, started by `torchrun`; without it, a single process.

Tensors of training go through the default process group (NCCL between GPUs). Other objects, such as
rows of features or errors, go through a second group on the CPU, which has no timeout in practice:
see trainer/agreement.py.
"""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from trainer.errors import TrainerError, TrainerUsageError
from trainer.lifeline import Lifeline

_PATIENCE = timedelta(minutes=30)  # timeout of collectives; longer than a server is retried
_LONG = timedelta(days=30)  # while rank 0 builds shards or evaluates, the other ranks wait
_SECONDS_TO_TELL = 10.0  # timeout for finding out which process prints the error

_LAUNCH = (
    "Start the processes by torchrun, which sets it (torchrun --nproc-per-node=2 --no-python -- "
    "ascnet ...), or use one process: env -u WORLD_SIZE -u LOCAL_WORLD_SIZE ascnet ..."
)


@dataclass(frozen=True)
class Rank:
    """This process's rank among the processes of the command.

    Attributes:
        number: the rank, 0 to world - 1
        world: number of processes
    """

    number: int = 0
    world: int = 1

    def share(self, count: int) -> slice:
        """The slice of a joint batch of `count` rows that is this rank's."""
        return slice(self.number * count // self.world, (self.number + 1) * count // self.world)


ALONE = Rank()
_talking: list[dist.ProcessGroup] = []  # the process group on the CPU, if there is one


@contextmanager
def together(device_type: str) -> Iterator[tuple[Rank, torch.device]]:
    """Join the processes that `torchrun` started, if any. Yields this process's rank and device.

    An error ends all processes, and one process of each machine reports it: the first that fails or
    notices that another has ended. The others end with SystemExit. Raises TrainerError if there are
    fewer GPUs than processes, if the device names one GPU for all, or if torchrun's environment
    variables are missing or wrong.
    """
    if _number("WORLD_SIZE", 1, at_least=1) == 1:
        yield ALONE, torch.device(device_type)
        return
    _must_be_launched()
    device = torch.device(device_type)
    if device.index is not None:
        raise TrainerUsageError(
            f"--device is {device}, and each of torchrun's processes takes a GPU of its own. Say "
            "--device cuda."
        )
    if device_type == "cuda":
        gpu = _number("LOCAL_RANK", None)
        if gpu >= torch.cuda.device_count():
            raise TrainerError(
                f"Process {gpu} of this machine finds no GPU of its own: there are "
                f"{torch.cuda.device_count()}. Start as many as there are GPUs: "
                f"torchrun --nproc-per-node={torch.cuda.device_count()} ..."
            )
        device = torch.device("cuda", gpu)
        torch.cuda.set_device(device)
    store, rank = _join("nccl" if device_type == "cuda" else "gloo"), this_rank()
    lifeline = Lifeline(store, rank.number, os.environ["MASTER_ADDR"], lambda: _tell_lost(store))
    try:
        yield rank, device
    except (Exception, KeyboardInterrupt) as error:
        lifeline.leave()
        is_stop = isinstance(error, KeyboardInterrupt)
        if not _tells(store, error):
            status = 130 if is_stop else getattr(error, "exit_status", 1)
            raise SystemExit(status) from error
        if lifeline.is_cut if is_stop else _is_of_a_lost_rank(error):
            raise LostRankError from error
        raise
    lifeline.leave(all_is_well=True)
    _talking.clear()
    dist.destroy_process_group()  # not after an error: it might wait for the others


class LostRankError(TrainerError):
    """Raised in the processes that remain when another process of the command has ended."""

    def __init__(self) -> None:
        super().__init__(
            "Another process of this command ended. If it says no reason, above or in its log, it "
            "was killed, perhaps as the memory was full, or its machine is gone. What is finished "
            "is kept; give the same command again."
        )


def _is_of_a_lost_rank(error: BaseException) -> bool:
    patterns = "closed by peer|reset by peer|gloo|NCCL|ProcessGroup|Broken pipe"
    return isinstance(error, RuntimeError) and bool(re.search(patterns, str(error)))


_KNOWN = "_is_known_to_all_ranks"  # an attribute set on exceptions


def _tells(store: dist.Store, error: BaseException) -> bool:
    """Whether this process reports the error that ends all of them: of an error that all ranks
    raise, the first process of each machine; else the process that gets here first."""
    if getattr(error, _KNOWN, False):
        return _number("LOCAL_RANK", this_rank().number) == 0
    try:
        store.set_timeout(timedelta(seconds=_SECONDS_TO_TELL))
        return store.add(f"told by {socket.gethostname()}", 1) == 1
    except RuntimeError:  # the process that hosted the store has ended
        return True


def _tell_lost(store: dist.Store) -> None:
    error = LostRankError()
    if _tells(store, error):
        print(f"Error: {error}", file=sys.stderr, flush=True)


def make_known(error: Exception) -> Exception:
    """Mark an error as raised on all ranks. Returns it."""
    setattr(error, _KNOWN, True)
    return error


def is_known_to_all(error: Exception) -> bool:
    """Whether all ranks have raised this error, so that they can handle it and continue."""
    return this_rank().world == 1 or getattr(error, _KNOWN, False)


def this_rank() -> Rank:
    """This process's rank within `together`; ALONE outside of it."""
    return Rank(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def talking_group() -> dist.ProcessGroup | None:
    """The process group on the CPU for exchanges without timeout; None stands for the default
    group."""
    return _talking[0] if _talking else None


def processes_here() -> int:
    """Number of processes of the command on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1, at_least=1)


def restarts() -> int:
    """How often torchrun has restarted these processes (--max-restarts)."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def launch() -> str:
    """An identifier of the call of torchrun, unchanged when it restarts its processes; "" without
    torchrun."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE", "")  # .../attempt_0/1/error.json
    return str(Path(error_file).parents[2]) if error_file.count("/") > 2 else ""


def _number(name: str, default: int | None, at_least: int = 0) -> int:
    """An environment variable as a number; `default`, unless None, if it is not set. Raises
    TrainerError if it is no number or below `at_least`."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or int(text) < at_least:
        raise TrainerError(
            f"{name} is {'not set' if text is None else repr(text)}, and it has to be a number, "
            f"{at_least} or more. {_LAUNCH}"
        )
    return int(text)


def _must_be_launched() -> None:
    """Raises TrainerError unless the environment of one of several processes holds its rank and
    the address of the rendezvous."""
    world = _number("WORLD_SIZE", 1)
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise TrainerError(
                f"WORLD_SIZE is {world}, so this is one of {world} processes that work together, "
                f"but {name} is {'empty' if name in os.environ else 'not set'}. {_LAUNCH}"
            )
    if (rank := _number("RANK", None)) >= world:
        raise TrainerError(
            f"RANK is {rank}, but WORLD_SIZE is {world}: ranks are 0 to {world - 1}. {_LAUNCH}"
        )
    if not 1 <= (port := _number("MASTER_PORT", None)) <= 65535:
        raise TrainerError(f"MASTER_PORT is {port}; ports are 1 to 65535. {_LAUNCH}")


def _join(backend: str) -> dist.Store:
    """Initialise the process groups. Returns the key-value store that the processes share. Raises
    TrainerError if they cannot reach each other."""
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=_PATIENCE))
        # torchrun may keep one store over its restarts. Without a prefix, it would still hold the
        # addresses of the earlier processes, which cannot be reached any more.
        notes = dist.PrefixStore(f"restart-{restarts()}", store)
        dist.init_process_group(
            backend, store=notes, rank=rank, world_size=world_size, timeout=_PATIENCE
        )
        _talking[:] = [dist.new_group(backend="gloo", timeout=_LONG)]
        return notes
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        is_taken = "EADDRINUSE" in str(error) or "already in use" in str(error)
        why = "the port is taken by another program" if is_taken else _first_line(error)
        raise TrainerError(
            f"The processes of this command cannot meet at {where} (MASTER_ADDR, MASTER_PORT): "
            f"{why}. Choose a free port (torchrun --master-port=..., or --standalone on one "
            "machine) and an address that all of them reach."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else repr(error)


def wait_for_all() -> None:
    """Wait until every rank has called this (a barrier)."""
    if world() > 1:
        dist.barrier()


def world() -> int:
    """Number of processes of the command."""
    return this_rank().world


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of `values` over all ranks, without gradient; for a single rank `values` itself."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_pairs(rows: torch.Tensor) -> torch.Tensor:
    """Gather 2B rows from each of W ranks (the first clips of its B videos, then the second ones)
    to the 2BW rows of the joint batch: the first clips of all ranks in rank order, then the second
    ones. This rank's own rows keep their gradient."""
    if world() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.detach().contiguous())
    parts[dist.get_rank()] = rows
    halves = [part.chunk(2) for part in parts]
    return torch.cat([first for first, _ in halves] + [second for _, second in halves])


def own_pairs(rows: torch.Tensor, rank: Rank) -> torch.Tensor:
    """A rank's 2B rows of the 2BW rows of the joint batch; the inverse of `gather_pairs`."""
    first, second = rows.chunk(2)
    share = rank.share(len(first))
    return torch.cat([first[share], second[share]])
