"""The processes of one command, one a GPU (`torchrun`); a single one without ceremony.

Tensors of a training go through the default group of processes (NCCL between GPUs). What ranks tell
each other besides, such as rows of features or an error, goes through a second one, on the CPU,
which waits as long as it takes: see trainer/agreement.py.
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

from trainer.errors import TrainerError
from trainer.lifeline import Lifeline

_PATIENCE = timedelta(minutes=30)  # with ranks that do not answer; longer than a server is tried
_LONG = timedelta(days=30)  # for rank 0, which builds shards or measures while the others wait
_SECONDS_TO_TELL = 10.0  # for asking who says why all of them end

_LAUNCH = (
    "Start the processes by torchrun, which sets it (torchrun --nproc-per-node=2 --no-python -- "
    "ascnet ...), or use one process: env -u WORLD_SIZE -u LOCAL_WORLD_SIZE ascnet ..."
)


@dataclass(frozen=True)
class Rank:
    """This process among those that work together."""

    number: int = 0
    world: int = 1

    def share(self, count: int) -> slice:
        """Which of the `count` rows of a joint batch are this rank's."""
        return slice(self.number * count // self.world, (self.number + 1) * count // self.world)


ALONE = Rank()
_talking: list[dist.ProcessGroup] = []  # the group on the CPU, while there is one


@contextmanager
def together(device_type: str) -> Iterator[tuple[Rank, torch.device]]:
    """Join the processes that `torchrun` started, if it did; this process's rank and its device.

    An error ends all of them, and one process of each machine says it: the first whose error it is,
    or that finds another gone. The others end with SystemExit. Raises TrainerError where there are
    fewer GPUs than processes, or one GPU is named for all, and where the variables by which
    torchrun tells a process of the others are missing or wrong.
    """
    if _number("WORLD_SIZE", 1, at_least=1) == 1:
        yield ALONE, torch.device(device_type)
        return
    _must_be_launched()
    device = torch.device(device_type)
    if device.index is not None:
        raise TrainerError(
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
            raise SystemExit(130 if is_stop else 1) from error
        if lifeline.is_cut if is_stop else _is_of_a_lost_rank(error):
            raise LostRankError from error
        raise
    lifeline.leave(all_is_well=True)
    _talking.clear()
    dist.destroy_process_group()  # after an error it might wait for the others


class LostRankError(TrainerError):
    """Another process has ended, and with it all that wait for it."""

    def __init__(self) -> None:
        super().__init__(
            "Another process of this command ended. If it says no reason, above or in its log, it "
            "was killed, perhaps as the memory was full, or its machine is gone. What is finished "
            "is kept; give the same command again."
        )


def _is_of_a_lost_rank(error: BaseException) -> bool:
    said = "closed by peer|reset by peer|gloo|NCCL|ProcessGroup|Broken pipe"
    return isinstance(error, RuntimeError) and bool(re.search(said, str(error)))


_KNOWN = "_is_known_to_all_ranks"  # an attribute of errors


def _tells(store: dist.Store, error: BaseException) -> bool:
    """Whether this process says why all of them end: the first of each machine does, of an error
    that all have; else who comes first."""
    if getattr(error, _KNOWN, False):
        return _number("LOCAL_RANK", this_rank().number) == 0
    try:
        store.set_timeout(timedelta(seconds=_SECONDS_TO_TELL))
        return store.add(f"told by {socket.gethostname()}", 1) == 1
    except RuntimeError:  # the process that kept the store is gone
        return True


def _tell_lost(store: dist.Store) -> None:
    error = LostRankError()
    if _tells(store, error):
        print(f"Error: {error}", file=sys.stderr, flush=True)


def make_known(error: Exception) -> Exception:
    """Note that all ranks raise this error."""
    setattr(error, _KNOWN, True)
    return error


def is_known_to_all(error: Exception) -> bool:
    """Whether all ranks have raised an error, so that all can go on with something else."""
    return this_rank().world == 1 or getattr(error, _KNOWN, False)


def this_rank() -> Rank:
    """This process among those that `together` has joined; ALONE outside of it."""
    return Rank(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ALONE


def talking_group() -> dist.ProcessGroup | None:
    """The group on the CPU in which ranks wait for each other as long as it takes; None: the
    default one."""
    return _talking[0] if _talking else None


def processes_here() -> int:
    """How many of the processes are on this machine."""
    return _number("LOCAL_WORLD_SIZE", 1, at_least=1)


def restarts() -> int:
    """How often torchrun has started these processes again (--max-restarts)."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def launch() -> str:
    """What tells one call of torchrun from every other, and stays the same when it starts its
    processes again; "" without torchrun."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE", "")  # .../attempt_0/1/error.json
    return str(Path(error_file).parents[2]) if error_file.count("/") > 2 else ""


def _number(name: str, default: int | None, at_least: int = 0) -> int:
    """The number that a variable of the environment holds; `default` where it is not set. Raises
    TrainerError for anything else."""
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
    """Raises TrainerError unless a process of several knows which it is and where they meet."""
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
    """The store in which the processes leave notes for each other."""
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=_PATIENCE))
        # torchrun may keep one store over its restarts: without a prefix the addresses of processes
        # that are gone are found in it, and none can be reached.
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
    """Until every rank has come here."""
    if world() > 1:
        dist.barrier()


def world() -> int:
    """How many processes work together."""
    return this_rank().world


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
    share = rank.share(len(first))
    return torch.cat([first[share], second[share]])
