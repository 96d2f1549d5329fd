"""Decode two clips of a video on the fly from the original file, with common libraries.

Each library is used in the fastest way that we found. The file is opened for every sample, and both
clips are decoded in one pass: decoding starts at the last keyframe before a wanted frame, not at
the beginning, and frames in between are decoded but not converted. One thread decodes;
`bench_loading` uses two cores by decoding two samples at a time. Slower were torchcodec's own
resizing and its exact seeking (which gave the same frames here), OpenCV's INTER_AREA, and decord
frame by frame.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from trainer.data.clip_sampler import ClipRequest

Pair = tuple[ClipRequest, ClipRequest]
Size = tuple[int, int]  # height, width: pixels
_NEAR = 30  # frames; a gap up to this is decoded rather than skipped by seeking (OpenCV only)


@dataclass(frozen=True)
class Library:
    name: str
    pip: str  # package to install
    module: ModuleType | None  # None: it is not installed
    pictures: Callable[[Path, Size, Sequence[int]], Iterator[np.ndarray]]
    """Yields the frames with the given numbers (rising), resized: uint8, H x W x 3."""

    def decode(self, path: Path, size: Size, pair: Pair) -> np.ndarray:
        """Decode the two clips of a sample: uint8, 2 x T x H x W x 3."""
        places: dict[int, list[tuple[int, int]]] = {}
        for i, request in enumerate(pair):
            for t, frame in enumerate(request.frames):
                places.setdefault(frame, []).append((i, t))
        clips = np.empty((2, len(pair[0].frames), *size, 3), np.uint8)
        wanted = sorted(places)
        for frame, picture in zip(wanted, self.pictures(path, size, wanted), strict=True):
            for place in places[frame]:
                clips[place] = picture
        return clips


def _optional(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError):  # torchcodec finds no supported FFmpeg libraries
        return None


av = _optional("av")
decord = _optional("decord")
torchcodec = _optional("torchcodec.decoders")
cv2 = _optional("cv2")
if av:
    av.logging.set_level(av.logging.PANIC)
if cv2:
    cv2.setNumThreads(1)


def _by_pyav(path: Path, size: Size, frames: Sequence[int]) -> Iterator[np.ndarray]:
    height, width = size
    scaler = av.video.reformatter.VideoReformatter()  # frame.reformat() creates one for each frame
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        index = stream.index_entries
        ticks = float(1 / (stream.average_rate * stream.time_base))  # per frame
        # The index has decoding times, and seeking takes presentation times.
        lag = (stream.start_time or 0) - (index[0].timestamp if len(index) else 0)
        decoded, number = container.decode(stream), 0  # number of the next frame
        for frame in frames:
            key = index.search_timestamp(int(frame * ticks) - lag) if len(index) else -1
            if key > 0:
                time = index[key].timestamp + lag
                if round(time / ticks) > number:
                    container.seek(time, stream=stream)
                    decoded, number = container.decode(stream), round(time / ticks)
            while number <= frame:
                picture = next(decoded)
                number += 1
            small = scaler.reformat(
                picture, width, height, "rgb24", interpolation="FAST_BILINEAR", threads=1
            )
            yield small.to_ndarray()


def _by_decord(path: Path, size: Size, frames: Sequence[int]) -> Iterator[np.ndarray]:
    height, width = size
    reader = decord.VideoReader(str(path), width=width, height=height, num_threads=1)
    last = len(reader) - 1
    yield from reader.get_batch([min(frame, last) for frame in frames]).asnumpy()


def _by_torchcodec(path: Path, size: Size, frames: Sequence[int]) -> Iterator[np.ndarray]:
    decoder = torchcodec.VideoDecoder(
        str(path), dimension_order="NCHW", num_ffmpeg_threads=1, seek_mode="approximate"
    )
    last = len(decoder) - 1  # by the header, which may count one frame too few
    whole = decoder.get_frames_at([min(frame, last) for frame in frames]).data
    small = torch.nn.functional.interpolate(whole, size, mode="bilinear")
    yield from small.permute(0, 2, 3, 1).numpy()


def _by_opencv(path: Path, size: Size, frames: Sequence[int]) -> Iterator[np.ndarray]:
    height, width = size
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    number = 0
    for frame in frames:
        if frame - number > _NEAR:
            video.set(cv2.CAP_PROP_POS_FRAMES, frame)
            number = frame
        while number <= frame:
            video.grab()
            number += 1
        there, picture = video.retrieve()
        if not there:
            raise ValueError(f"{path} has no frame {frame}")
        yield cv2.cvtColor(cv2.resize(picture, (width, height)), cv2.COLOR_BGR2RGB)
    video.release()


LIBRARIES = (
    Library("PyAV", "av", av, _by_pyav),
    Library("decord", "decord", decord, _by_decord),
    Library("torchcodec", "torchcodec==0.13 (for torch 2.13)", torchcodec, _by_torchcodec),
    Library("OpenCV", "opencv-python-headless", cv2, _by_opencv),
)


def difference(clips: np.ndarray, ours: np.ndarray) -> float:
    """Mean absolute difference (0 .. 255) of two decodings of a sample (2 x T x H x W x 3), after
    averaging blocks of pixels: libraries resize differently, but wrong frames differ more."""
    return float(np.abs(_blocks(clips) - _blocks(ours)).mean())


def _blocks(clips: np.ndarray, side: int = 8) -> np.ndarray:
    n, t, height, width, _ = clips.shape
    rows, columns = height // side, width // side
    whole = clips[:, :, : rows * side, : columns * side].astype(np.float32)
    return whole.reshape(n, t, rows, side, columns, side, 3).mean((3, 5))
