"""Clips of videos in the order in which these lie in shards that are read from start to end: each
shard once, and none that holds no clip that is wanted."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from threading import Event

from builder.shards.dataset import Video
from trainer.data.clip_sampler import ClipRequest
from trainer.data.streaming.prefetch import ReadAhead
from trainer.data.streaming.reader import Sample, read_shard, with_frames
from trainer.data.streaming.retrying import Patience
from trainer.data.streaming.transport import url_of

_AHEAD = 2  # batches of clips whose frames wait in memory, as they are stored

Clips = Sequence[ClipRequest]


@dataclass(frozen=True)
class RemoteVideos:
    """Videos of one data set, and where its shards are.

    Attributes:
        source: a URL or `pipe:` command, as `trainer.data.streaming.transport.url_of` takes it
    """

    videos: Sequence[Video]
    source: str
    patience: Patience = field(default_factory=Patience)


def storage_order(videos: Sequence[Video]) -> list[int]:
    """Positions of the videos, in the order in which they lie in their shards."""
    return sorted(
        range(len(videos)), key=lambda i: (videos[i].shard.name, videos[i].location.start)
    )


def stream_clips(remote: RemoteVideos, batches: Sequence[Clips]) -> Generator[Clips, None, None]:
    """The batches with the frames of their clips, read ahead by a thread of its own. The clips'
    videos have to be in storage order, those of a video side by side. Closing the generator ends
    the thread and what it reads from.

    Raises TrainerError if a shard cannot be read, or is not what `dataset.json` says.
    """
    ahead = ReadAhead(partial(_filled, remote, batches), _AHEAD)
    try:
        for _ in batches:
            yield ahead.get()
    finally:
        ahead.stop()
        ahead.join()


def _filled(
    remote: RemoteVideos, batches: Sequence[Clips], stop: Event
) -> Generator[Clips, None, None]:
    wanted = dict.fromkeys(clip.video for batch in batches for clip in batch)
    with closing(_samples(remote, list(wanted), stop)) as samples:
        there, jpegs = -1, dict[int, bytes]()  # a video, and those of its frames that were taken
        for batch in batches:
            filled = []
            for clip in batch:
                if clip.video != there:
                    there, (offsets, blob) = clip.video, next(samples)
                    jpegs = {}
                for frame in clip.frames:
                    if frame not in jpegs:
                        jpegs[frame] = bytes(blob[offsets[frame] : offsets[frame + 1]])
                filled.append(with_frames(clip, jpegs))
            yield filled


def _samples(
    remote: RemoteVideos, wanted: Sequence[int], stop: Event
) -> Generator[Sample, None, None]:
    """Of the `wanted` videos, one after another."""
    videos: Iterator[Video] = (remote.videos[video] for video in wanted)
    for path, of_shard in groupby(videos, key=lambda video: video.shard):
        url = url_of(remote.source, path.name)
        yield from read_shard(url, list(of_shard), remote.patience, stop)
