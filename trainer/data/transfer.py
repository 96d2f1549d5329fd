"""Batches to the device, the next one while the last is in use."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

import torch

from trainer.data.clip_reader import ClipBatch


def on_device(
    batches: Generator[ClipBatch, None, None], device: torch.device
) -> Generator[ClipBatch, None, None]:
    """The batches with their frames on the device. To a GPU they are copied on a stream of their
    own, one ahead of the batch in use, from page-locked memory if that is where they are."""
    with closing(batches):
        if device.type == "cuda":
            yield from _copied(batches, device)
        else:
            yield from batches


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor to the device. (From ordinary memory a GPU would first finish its work.)"""
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
        copied.synchronize()  # `batches` uses the memory again for a later batch
        copy.clips.pixels.record_stream(torch.cuda.current_stream(device))
        ahead = copy
    if ahead is not None:
        yield ahead
