"""The training batches of a run: from local shards by random access, or streamed."""

from collections.abc import Generator

import torch

from trainer.config.settings import Config, Data
from trainer.data.clip_reader import ClipBatch, ClipReader, read_batches
from trainer.data.clip_sampler import Batches, Pairs, pair_requests
from trainer.data.streaming.order import choose_streams
from trainer.data.streaming.reader import Streaming, stream_requests, stream_shards
from trainer.data.streaming.transport import is_remote
from trainer.data.training_set import TrainingSet
from trainer.data.transfer import on_device
from trainer.distributed import Rank
from trainer.errors import TrainerError


def part_size(settings: Config, world: int) -> int:
    """Number of videos in one forward pass over all ranks: a step's batch divided by
    `optim.accumulate`. Raises TrainerError if the ranks cannot share it equally."""
    part = settings.optim.batch // settings.optim.accumulate
    if part % world or part // world < 2:
        raise TrainerError(
            f"{world} processes cannot share {part} videos equally, two or more each: optim.batch "
            f"is {settings.optim.batch} over all of them, optim.accumulate is "
            f"{settings.optim.accumulate}. Change the batch with --set optim.batch=..."
        )
    return part


def training_batches(
    settings: Config, data: TrainingSet, first: int, total: int, rank: Rank, device: torch.device
) -> Generator[ClipBatch, None, None]:
    """Batches of this rank for the steps from `first` up to, but without, `total`:
    `optim.accumulate` batches a step, with their frames on the device."""
    clips, parts = settings.data, settings.optim.accumulate
    policy, seed = clips.short_videos, settings.seed
    pairs = Pairs(clips.frames, clips.strides, clips.replacement, policy, seed)
    numbers = range(first * parts, total * parts)
    shares = Batches(numbers, part_size(settings, rank.world), rank)
    if is_streamed(clips, data):
        shards = stream_shards(data.videos, data.sources)
        streaming = Streaming(clips.streams, clips.shuffle_buffer)
        requests = stream_requests(data.videos, data.timings, shards, shares, pairs, streaming)
    else:
        requests = pair_requests(data.timings, shares, pairs)
    reader = ClipReader(data.videos, clips.short_side)
    batches = read_batches(reader, requests, clips.workers, pinned=device.type == "cuda")
    return on_device(batches, device)


def must_be_shareable(settings: Config, data: TrainingSet, world: int) -> None:
    """Raises TrainerError if `world` ranks cannot share the batches or the streamed shards."""
    part_size(settings, world)
    if is_streamed(settings.data, data):
        choose_streams(settings.data.streams, len({v.shard for v in data.videos}), world)


def is_streamed(settings: Data, data: TrainingSet) -> bool:
    """Whether shards are streamed, that is, read from start to end: if any is remote, or if
    `data.streaming` is set."""
    return settings.streaming or any(is_remote(source) for source in data.sources.values())
