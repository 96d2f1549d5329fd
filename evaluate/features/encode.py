"""Clips through a network, the same numbers on every call."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain, groupby

import torch
from torch import nn

from builder.shards.dataset import Video
from evaluate.errors import EvaluateError
from evaluate.protocol import LAST, Protocol, clips_of
from trainer.backbones.base import Backbone
from trainer.data.augment import square_crop
from trainer.data.clip_reader import ClipReader, read_batches
from trainer.data.clip_sampler import ClipRequest

UNIT = 8  # videos that are computed together, and done or not done together
_MOST_CLIPS = 10 * UNIT  # a batch
_BATCH_BYTES = 64 << 20  # of decoded frames; bounds memory
_PLACES = {1: (0.5,), 3: (0.0, 0.5, 1.0)}  # crops along the longer side
Network = Callable[[torch.Tensor], torch.Tensor]  # N x 3 x T x S x S, normalised, to N x outputs


class Pooled(nn.Module):
    """A backbone with one feature vector a clip: its map, or that of one of its layers, pooled over
    time and space."""

    def __init__(self, backbone: Backbone, layer: str = LAST, pooling: str = "average") -> None:
        """Raises EvaluateError if the backbone has no such layer."""
        super().__init__()
        self.backbone = backbone
        self._pool = torch.mean if pooling == "average" else torch.amax
        self._name = layer
        self._layer = None if layer == LAST else _layer(backbone, layer)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """float32, N x 3 x T x S x S to N x channels. Raises EvaluateError if what the layer says
        is no map over time and space."""
        features = self._map(clips)
        if features.dim() != 5:
            raise EvaluateError(
                f"Layer {self._name} says {features.dim()} dimensions a batch, and a map over time "
                "and space has 5. Name a stage of the network, such as layer3."
            )
        return self._pool(features, dim=(2, 3, 4))

    def _map(self, clips: torch.Tensor) -> torch.Tensor:
        if self._layer is None:
            last: torch.Tensor = self.backbone(clips)
            return last
        outputs: list[torch.Tensor] = []
        # A copy, for what follows may work in place.
        hook = self._layer.register_forward_hook(lambda m, i, out: outputs.append(out.clone()))
        try:
            self.backbone(clips)
        finally:
            hook.remove()
        return outputs[-1]

    def channels(self, protocol: Protocol, device: torch.device) -> int:
        """How many features a clip has."""
        with torch.inference_mode():
            clip = torch.zeros(1, 3, protocol.frames, protocol.size, protocol.size, device=device)
            return int(self(clip).shape[1])


def _layer(backbone: Backbone, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(backbone.named_modules())
    if name in modules and name:
        return modules[name]
    children = dict(backbone.named_children())
    if len(children) == 1:  # S3D's are all in `features`
        parent, only = next(iter(children.items()))
        children = {f"{parent}.{child}": module for child, module in only.named_children()}
    raise EvaluateError(
        f"The backbone has no layer {name!r}. It has {', '.join(children)}; {LAST} is its output."
    )


def to_device(network: nn.Module, device: torch.device) -> None:
    """On the device, in evaluation mode, laid out for 3-D convolutions."""
    network.to(device).eval()
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def encode(
    network: Network,
    videos: Sequence[Video],
    protocol: Protocol,
    device: torch.device,
    *,
    workers: int = 0,
    done: Container[int] = (),
) -> Iterator[tuple[int, torch.Tensor]]:
    """A network's outputs for the protocol's clips of all videos, in order: for every UNIT of
    videos but those whose first one is in `done`, its first video and the outputs (float32 on the
    CPU, clips of the unit x outputs; the mean over the crops of a clip, and their mirror images if
    they count). Raises EvaluateError as `clips_of` does.

    What is computed together does not depend on what is done already, so a resumed extraction
    computes the same bits.
    """
    reader, clips = ClipReader(videos, protocol.short_side), clips_of(videos, protocol)
    parts = [
        (first, part)
        for first in range(0, len(videos), UNIT)
        if first not in done
        for part in _cut(chain.from_iterable(clips[first : first + UNIT]), reader, protocol)
    ]
    batches = read_batches(reader, (part for _, part in parts), workers)

    def outputs() -> Iterator[tuple[int, torch.Tensor]]:
        for (first, _), batch in zip(parts, batches, strict=True):
            decoded = batch.clips.to(device)
            of_crops = []
            for place in _PLACES[protocol.crops]:
                crop = square_crop(decoded, protocol.size, place)
                for x in (crop, crop.flip(-1)) if protocol.mirrored else (crop,):
                    of_crops.append(network(x.contiguous(memory_format=torch.channels_last_3d)))
            yield first, torch.stack(of_crops).mean(dim=0).float().cpu()

    with torch.inference_mode():
        for first, of_unit in groupby(outputs(), key=lambda item: item[0]):
            yield first, torch.cat([part for _, part in of_unit])


def _cut(
    clips: Iterable[ClipRequest], reader: ClipReader, protocol: Protocol
) -> Iterator[list[ClipRequest]]:
    """Batches of _BATCH_BYTES of frames and crops, however large a single clip is."""
    batch: list[ClipRequest] = []
    size = 0
    for clip in clips:
        height, width = reader.size(clip)
        needed = protocol.frames * max(height * width, protocol.size**2 * 4) * 3
        if batch and (size + needed > _BATCH_BYTES or len(batch) == _MOST_CLIPS):
            yield batch
            batch, size = [], 0
        batch.append(clip)
        size += needed
    if batch:
        yield batch
