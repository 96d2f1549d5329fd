"""Run clips through a network, with the same results on every call."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import nn

from builder.shards.dataset import Video
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.features.batches import Batching
from evaluate.own_encoder import EncoderNetwork
from evaluate.protocol import LAST, Protocol, clips_of
from trainer.agreement import all_say
from trainer.data.augment import square_crop
from trainer.data.clip_reader import ClipBatch, ClipReader, read_batches
from trainer.data.clip_sampler import ClipRequest
from trainer.data.streaming.in_order import RemoteVideos, stream_clips
from trainer.data.transfer import on_device
from trainer.distributed import this_rank

UNIT = 8  # videos that are computed, and marked as done, together
_PLACES = {1: (0.5,), 3: (0.0, 0.5, 1.0)}  # positions of crops along the longer side
Network = Callable[[torch.Tensor], torch.Tensor]  # clips, N x 3 x T x S x S, to N x outputs


@dataclass(frozen=True)
class Reading:
    """How the frames of videos are read.

    Attributes:
        workers: number of decoding threads; 0: number of available cores
        source: URL or command that streams the shards (the videos must be in storage order); "":
            they are local
        alone: never mix clips of several videos in a batch, so that a video's outputs do not depend
            on the other videos, not even in the last bit (convolutions may round differently in
            another batch)
    """

    workers: int = 0
    source: str = ""
    alone: bool = False


ON_DISK = Reading()


class Pooled(nn.Module):
    """A backbone with one feature vector per clip: its output map, or that of a layer, pooled over
    time and space."""

    def __init__(self, backbone: nn.Module, layer: str = LAST, pooling: str = "average") -> None:
        """Raises EvaluateError if the backbone has no such layer."""
        super().__init__()
        self.backbone = backbone
        self._pool = torch.mean if pooling == "average" else torch.amax
        self._name = layer
        # Layers have the names that their author gave them.
        named = backbone.module if isinstance(backbone, EncoderNetwork) else backbone
        self._layer = None if layer == LAST else _layer(named, layer)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Map clips, float32 N x 3 x T x S x S, to features, N x channels. Raises EvaluateError if
        the layer's output is not a map over time and space."""
        return self._pool(self._checked(self._map(clips)), dim=(2, 3, 4))

    def positions(self, clips: torch.Tensor) -> torch.Tensor:
        """The map before pooling, N x channels x T x H x W; all tokens for an encoder with a class
        token. Raises EvaluateError as `forward` does."""
        if self._layer is None and isinstance(self.backbone, EncoderNetwork):
            return self.backbone.all_positions(clips)
        return self._checked(self._map(clips))

    def _checked(self, features: torch.Tensor) -> torch.Tensor:
        if features.dim() != 5:
            raise EvaluateError(
                f"Layer {self._name} has an output with {features.dim()} dimensions; a map over "
                "time and space has 5. Name a stage of the network, such as layer3."
            )
        return features

    def _map(self, clips: torch.Tensor) -> torch.Tensor:
        if self._layer is None:
            last: torch.Tensor = self.backbone(clips)
            return last
        outputs: list[torch.Tensor] = []
        # Cloned, as later layers may change it in place.
        hook = self._layer.register_forward_hook(lambda m, i, out: outputs.append(out.clone()))
        try:
            self.backbone(clips)
        finally:
            hook.remove()
        return outputs[-1]

    def channels(self, protocol: Protocol, device: torch.device) -> int:
        """Number of features of a clip."""
        with torch.inference_mode():
            return int(self(_empty_clip(protocol, device)).shape[1])

    def map_shape(self, protocol: Protocol, device: torch.device) -> tuple[int, int]:
        """Numbers of channels and positions in the map of a clip."""
        with torch.inference_mode():
            channels, *sides = self.positions(_empty_clip(protocol, device)).shape[1:]
            return channels, math.prod(sides)


def _empty_clip(protocol: Protocol, device: torch.device) -> torch.Tensor:
    return torch.zeros(1, 3, protocol.frames, protocol.size, protocol.size, device=device)


def _layer(backbone: nn.Module, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(backbone.named_modules())
    if name in modules and name:
        return modules[name]
    children = dict(backbone.named_children())
    if len(children) == 1:  # such as `features` of S3D
        parent, only = next(iter(children.items()))
        children = {f"{parent}.{child}": module for child, module in only.named_children()}
    raise EvaluateUsageError(
        f"The backbone has no layer {name!r}. Its layers include {', '.join(children)}; {LAST} is "
        "its output."
    )


def to_device(network: nn.Module, device: torch.device) -> None:
    """Move a network to the device, in evaluation mode and with the memory layout for 3-D
    convolutions. A user's encoder keeps its layout."""
    network.to(device).eval()
    if not any(isinstance(module, EncoderNetwork) for module in network.modules()):
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def encode(
    network: Network,
    videos: Sequence[Video],
    protocol: Protocol,
    device: torch.device,
    reading: Reading = ON_DISK,
    units: Sequence[int] | None = None,
) -> Generator[tuple[int, torch.Tensor], None, None]:
    """Compute a network's outputs for the protocol's clips of videos.

    Yields, for every UNIT of videos, the position of its first video and the outputs: float32 on
    the CPU, clips of the unit x outputs, each the mean over the crops of a clip (and over mirrored
    and turned ones, if the protocol says so). `units` gives the first videos of the units to
    compute, in this order; None: all. Raises EvaluateError as `clips_of` does, and TrainerError if
    frames cannot be read.

    Batches never span units. So an extraction that resumes, or is shared by several processes,
    gives the same bits as an uninterrupted one: on a CPU with equally many threads, and on GPUs of
    the same kind with about equal free memory (evaluate/features/batches.py).
    """
    reader, clips = ClipReader(videos, protocol.short_side), clips_of(videos, protocol)
    firsts = range(0, len(videos), UNIT) if units is None else units

    def outputs() -> Iterator[tuple[int, torch.Tensor]]:
        batching = Batching.on(device, network, protocol)

        def batches_of(of_unit: Sequence[Sequence[ClipRequest]]) -> list[list[ClipRequest]]:
            together = of_unit if reading.alone else [list(chain.from_iterable(of_unit))]
            return [batch for some in together for batch in batching.batches(some, reader)]

        units_of_batches = [(first, batches_of(clips[first : first + UNIT])) for first in firsts]
        requests: Iterable[Sequence[ClipRequest]] = chain.from_iterable(
            batches for _, batches in units_of_batches
        )
        if reading.source:
            requests = stream_clips(RemoteVideos(videos, reading.source), list(requests))
        read = read_batches(reader, requests, reading.workers, pinned=device.type == "cuda")
        with closing(on_device(read, device)) as there:
            for first, batches in units_of_batches:
                of_unit = islice(there, len(batches))
                yield first, torch.cat([_of_crops(network, batch, protocol) for batch in of_unit])

    with torch.inference_mode():
        yield from outputs() if device.type != "cuda" else _copied(outputs())


def encode_together(
    network: Network,
    videos: Sequence[Video],
    protocol: Protocol,
    device: torch.device,
    reading: Reading,
    units: Sequence[int],
) -> Generator[tuple[int, torch.Tensor], None, None]:
    """Like `encode`, with the units divided among the ranks; every rank yields all outputs.

    The ranks proceed in steps: each computes a unit, then they exchange outputs and errors. Units
    are sorted by their number of clips, so that those of one step take about equally long. For
    streamed shards, each rank takes consecutive units, so that no rank reads all shards.
    """
    rank = this_rank()
    if rank.world == 1:
        yield from encode(network, videos, protocol, device, reading, units)
        return
    steps = range(0, len(units), rank.world)
    if reading.source:
        share = units[rank.number * len(steps) : (rank.number + 1) * len(steps)]
    else:
        clips = [len(of_video) for of_video in clips_of(videos, protocol)]
        units = sorted(units, key=lambda first: -sum(clips[first : first + UNIT]))
        share = units[rank.number :: rank.world]
    with closing(encode(network, videos, protocol, device, reading, share)) as mine:
        for _ in steps:
            yield from filter(None, all_say(next(mine, None)))


def _of_crops(network: Network, batch: ClipBatch, protocol: Protocol) -> torch.Tensor:
    """float32, clips x outputs: the mean over the crops of each clip."""
    of_crops = []
    for place in _PLACES[protocol.crops]:
        crop = square_crop(batch.clips, protocol.size, place, protocol.normalise)
        for x in _views(crop, protocol):
            of_crops.append(network(x.contiguous(memory_format=torch.channels_last_3d)))
    return torch.stack(of_crops).mean(dim=0).float()


def _views(crop: torch.Tensor, protocol: Protocol) -> Iterator[torch.Tensor]:
    """The crop (... x S x S) and the views that count as much: turned, mirrored, or both."""
    for quarters in range(4 if protocol.turned else 1):
        view = crop.rot90(quarters, (-2, -1))
        yield view
        if protocol.mirrored:
            yield view.flip(-1)


def _copied(
    units: Iterator[tuple[int, torch.Tensor]],
) -> Generator[tuple[int, torch.Tensor], None, None]:
    """Copy outputs from a GPU to the CPU while the next unit is computed, so that the GPU never
    waits for their consumer."""
    before: tuple[int, torch.Tensor, torch.cuda.Event] | None = None
    for first, outputs in units:
        copy = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=True)
        copy.copy_(outputs, non_blocking=True)
        event = torch.cuda.Event(blocking=True)  # while waiting, the core is free for decoding
        event.record()
        if before is not None:
            before[2].synchronize()
            yield before[:2]
        before = first, copy, event
    if before is not None:
        before[2].synchronize()
        yield before[:2]
