"""Read clips in the storage order of their videos: each shard sequentially and once, and only the
shards that hold requested clips."""

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

_AHEAD = 2  # batches of clips that are read ahead; their frames stay encoded

Clips = Sequence[ClipRequest]


@dataclass(frozen=True)
class RemoteVideos:
    """Videos of one data set, and the source of its shards.

    Attributes:
        source: a URL or `pipe:` command, as for `trainer.data.streaming.transport.url_of`
    """

    videos: Sequence[Video]
    source: str
    patience: Patience = field(default_factory=Patience)


def storage_order(videos: Sequence[Video]) -> list[int]:
    """Positions of the videos in `videos`, in the order in which the shards hold them."""
    return sorted(
        range(len(videos)), key=lambda i: (videos[i].shard.name, videos[i].location.start)
    )


def stream_clips(remote: RemoteVideos, batches: Sequence[Clips]) -> Generator[Clips, None, None]:
    """Yield the batches with the encoded frames of their clips, read ahead in a background thread.
    Clips must be in the storage order of their videos, with the clips of a video adjacent. Closing
    the generator ends the thread and its connections.

    Raises TrainerError if a shard cannot be read or does not match `dataset.json`.
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
        current, jpegs = -1, dict[int, bytes]()  # a video, and the frames copied from it so far
        for batch in batches:
            filled = []
            for clip in batch:
                if clip.video != current:
                    current, (offsets, blob) = clip.video, next(samples)
                    jpegs = {}
                for frame in clip.frames:
                    if frame not in jpegs:
                        jpegs[frame] = bytes(blob[offsets[frame] : offsets[frame + 1]])
                filled.append(with_frames(clip, jpegs))
            yield filled


def _samples(
    remote: RemoteVideos, wanted: Sequence[int], stop: Event
) -> Generator[Sample, None, None]:
    """Yield the samples of the `wanted` videos, one after another."""
    videos: Iterator[Video] = (remote.videos[video] for video in wanted)
    for path, of_shard in groupby(videos, key=lambda video: video.shard):
        url = url_of(remote.source, path.name)
        yield from read_shard(url, list(of_shard), remote.patience, stop)
