"""How many clips go through a network at a time: as many as the memory holds.

On a CPU a batch is bounded by the memory of its frames; larger ones are no faster. On a GPU it is
bounded by a share of the memory that is free there, as well.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod

import torch

from evaluate.protocol import Protocol
from trainer.data.clip_reader import ClipReader
from trainer.data.clip_sampler import ClipRequest

MOST_CLIPS = 80  # a batch
_SHARE = 0.5  # of a GPU's free memory: a convolution of a large batch may need more than its clips
_HOST_BYTES_CPU = 64 << 20  # of a batch's frames and crops
_HOST_BYTES_GPU = 512 << 20  # of a batch's frames in page-locked memory; four are read at a time
# A clip while it is prepared, times its size: frames in use and being copied, as floats, and half
# resized; its crop as it is made, normalised and laid out for convolutions.
_OF_DECODED, _OF_CROP = 10, 3


@dataclass(frozen=True)
class Memory:
    """Bytes, of a clip or of a batch.

    Attributes:
        host: of what is decoded
        device: of a GPU; 0 on a CPU
    """

    host: int
    device: int = 0


def limit_of(free: int) -> Memory:
    """What a batch may take of a GPU with so many bytes free. It is a power of two, so that the
    little that is free more or less at another time changes no batch."""
    return Memory(_HOST_BYTES_GPU, 1 << (max(1, int(free * _SHARE)).bit_length() - 1))


def cost_of(frame: tuple[int, int], protocol: Protocol, network: int) -> Memory:
    """What a clip takes: `frame` is the height and width of its decoded frames, `network` what the
    network takes for it on a GPU, in bytes (0 on a CPU)."""
    decoded = protocol.frames * prod(frame) * 3
    crop = protocol.frames * protocol.size**2 * 3 * 4
    if not network:
        return Memory(max(decoded, crop))
    return Memory(decoded, _OF_DECODED * decoded + _OF_CROP * crop + network)


def lengths(costs: Iterable[Memory], limit: Memory) -> Iterator[int]:
    """How many clips each batch has: as many in a row as the limit allows, at most MOST_CLIPS, and
    one however much it takes."""
    count, host, device = 0, 0, 0
    for cost in costs:
        is_full = host + cost.host > limit.host or device + cost.device > limit.device
        if count and (is_full or count == MOST_CLIPS):
            yield count
            count, host, device = 0, 0, 0
        count, host, device = count + 1, host + cost.host, device + cost.device
    if count:
        yield count


@dataclass(frozen=True)
class Batching:
    """How clips of one protocol are put together for a network on a device.

    Attributes:
        limit: of a batch
        network: bytes that a clip takes in the network; 0 on a CPU
    """

    limit: Memory
    network: int
    protocol: Protocol

    @classmethod
    def on(
        cls,
        device: torch.device,
        network: Callable[[torch.Tensor], torch.Tensor],
        protocol: Protocol,
    ) -> "Batching":
        """For a network that is on a device; on a GPU it is tried out with one clip."""
        if device.type != "cuda":
            return cls(Memory(_HOST_BYTES_CPU), 0, protocol)
        needed = measured_bytes(device, network, protocol)
        return cls(limit_of(free_bytes(device)), needed, protocol)

    def batches(
        self, clips: Iterable[ClipRequest], reader: ClipReader
    ) -> Iterator[list[ClipRequest]]:
        """The clips, in their order, in batches."""
        clips = list(clips)
        costs = (cost_of(reader.size(clip), self.protocol, self.network) for clip in clips)
        first = 0
        for length in lengths(costs, self.limit):
            yield clips[first : first + length]
            first += length


def free_bytes(device: torch.device) -> int:
    """Of a GPU's memory: what nobody has, and what this process has and does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def measured_bytes(
    device: torch.device, network: Callable[[torch.Tensor], torch.Tensor], protocol: Protocol
) -> int:
    """Bytes that the network takes for a clip, besides the clip and the weights."""
    shape = (1, 3, protocol.frames, protocol.size, protocol.size)
    clip = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last_3d)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    network(clip)
    return max(1, torch.cuda.max_memory_allocated(device) - before)
