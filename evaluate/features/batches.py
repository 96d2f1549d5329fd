"""Decide how many clips form a batch, so that it fits the memory.

On a CPU, the size of a batch's frames is limited; larger batches are no faster. On a GPU, a batch
may also use no more than a share of the free memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod

import torch

from evaluate.protocol import Protocol
from trainer.data.clip_reader import ClipReader
from trainer.data.clip_sampler import ClipRequest

MOST_CLIPS = 80  # in a batch
_SHARE = 0.5  # of a GPU's free memory; convolutions of large batches need more than their clips
_HOST_BYTES_CPU = 64 << 20  # of a batch's frames and crops
_HOST_BYTES_GPU = 512 << 20  # of a batch's frames in page-locked memory; four are read at a time
# Memory for preparing a clip, in multiples of its size. Frames: in use, being copied, as floats and
# half resized. Crop: as cropped, as normalised and as laid out for convolutions.
_OF_DECODED, _OF_CROP = 10, 3


@dataclass(frozen=True)
class Memory:
    """Memory of a clip or a batch, in bytes.

    Attributes:
        host: decoded frames in main memory
        device: memory of a GPU; 0 on a CPU
    """

    host: int
    device: int = 0


def limit_of(free: int) -> Memory:
    """The memory that a batch may use on a GPU with `free` bytes. Rounded down to a power of two,
    so that small changes of the free memory do not change the batches."""
    return Memory(_HOST_BYTES_GPU, 1 << (max(1, int(free * _SHARE)).bit_length() - 1))


def cost_of(frame: tuple[int, int], protocol: Protocol, network: int) -> Memory:
    """The memory of a clip. `frame` is the height and width of its decoded frames; `network` is the
    memory that the network needs for it on a GPU, in bytes (0 on a CPU)."""
    decoded = protocol.frames * prod(frame) * 3
    crop = protocol.frames * protocol.size**2 * 3 * 4
    if not network:
        return Memory(max(decoded, crop))
    return Memory(decoded, _OF_DECODED * decoded + _OF_CROP * crop + network)


def lengths(costs: Iterable[Memory], limit: Memory) -> Iterator[int]:
    """The number of clips in each batch: as many consecutive clips as fit the limit, from 1 to
    MOST_CLIPS. A clip that exceeds the limit forms a batch of its own."""
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
    """How clips of one protocol are grouped into batches for a network on a device.

    Attributes:
        limit: limit for a batch
        network: bytes that the network needs for a clip; 0 on a CPU
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
        """The batching for a network that is on `device`. On a GPU, its memory is measured with one
        clip."""
        if device.type != "cuda":
            return cls(Memory(_HOST_BYTES_CPU), 0, protocol)
        needed = measured_bytes(device, network, protocol)
        return cls(limit_of(free_bytes(device)), needed, protocol)

    def batches(
        self, clips: Iterable[ClipRequest], reader: ClipReader
    ) -> Iterator[list[ClipRequest]]:
        """Group the clips into batches, in their order."""
        clips = list(clips)
        costs = (cost_of(reader.size(clip), self.protocol, self.network) for clip in clips)
        first = 0
        for length in lengths(costs, self.limit):
            yield clips[first : first + length]
            first += length


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU in bytes, including what torch has reserved but does not use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def measured_bytes(
    device: torch.device, network: Callable[[torch.Tensor], torch.Tensor], protocol: Protocol
) -> int:
    """Bytes that the network needs for a clip on a GPU, without the clip and the weights."""
    shape = (1, 3, protocol.frames, protocol.size, protocol.size)
    clip = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last_3d)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    network(clip)
    return max(1, torch.cuda.max_memory_allocated(device) - before)
