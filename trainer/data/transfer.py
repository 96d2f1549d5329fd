"""Copy batches to the device, one ahead of the batch in use."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import torch

from trainer.data.clip_reader import ClipBatch


def on_device(
    batches: Generator[ClipBatch, None, None], device: torch.device
) -> Generator[ClipBatch, None, None]:
    """Yield the batches with their frames on the device. To a GPU they are copied on a separate
    CUDA stream, one ahead of the batch in use, and asynchronously if they are in page-locked
    memory."""
    with closing(batches):
        if device.type == "cuda":
            yield from _copied(batches, device)
        else:
            yield from batches


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a small tensor to the device. It is pinned first: a copy from pageable memory would wait
    for the GPU to finish its work."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def _copied(batches: Iterable[ClipBatch], device: torch.device) -> Iterator[ClipBatch]:
    stream = torch.cuda.Stream(device)
    ahead: ClipBatch | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copy = replace(batch, clips=batch.clips.to(device, non_blocking=True))
            copied = stream.record_event(torch.cuda.Event(blocking=True))
        if ahead is not None:
            yield ahead
        copied.synchronize()  # `batches` reuses the memory for a later batch
        copy.clips.pixels.record_stream(torch.cuda.current_stream(device))
        ahead = copy
    if ahead is not None:
        yield ahead
