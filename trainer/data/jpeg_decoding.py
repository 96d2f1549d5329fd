"""Decode JPEG frames into clips."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import simplejpeg

from builder.shards.dataset import Video
from builder.shards.jpeg_scans import must_have_few_scans
from trainer.errors import TrainerError


@cache
def decoded_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a frame of height x width pixels, decoded at libjpeg's smallest scale
    that leaves at least `short_side` pixels on both sides; 0 for full size. Scales between 1/2 and
    1 are not used: they cost more than full size."""
    header = _header_of(height, width)
    scaled = simplejpeg.decode_jpeg_header(header, min_height=short_side, min_width=short_side)
    if short_side == 0 or 2 * scaled[0] > height + 1:
        return height, width
    return int(scaled[0]), int(scaled[1])


def _header_of(height: int, width: int) -> bytes:
    """A small JPEG whose header claims the given size: asking for decoded sizes stays cheap."""
    blank = bytearray(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = blank.index(b"\xff\xc0") + 5  # position of the size in the frame header (ITU T.81, B.2.2)
    blank[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(blank)


def decode_clips(
    jpegs: Mapping[int, bytes | memoryview],
    frames: Sequence[Sequence[int]],
    video: Video,
    clips: Sequence[np.ndarray],
) -> None:
    """Decode frames of a video into clips.

    `frames` holds the frame numbers of each clip, `jpegs` the encoded frames by their numbers, and
    `clips` an array for each clip (uint8, T x H x W x 3), whose H x W is one of libjpeg's scales of
    the frame. A frame that occurs several times is decoded once. Raises TrainerError for a frame
    that is no JPEG of the video's size.
    """
    size, pixels = clips[0].shape[1:3], video.height * video.width
    decoded: dict[int, np.ndarray] = {}
    for numbers, clip in zip(frames, clips, strict=True):
        for number, picture in zip(numbers, clip, strict=True):
            if number in decoded:
                picture[:] = decoded[number]
                continue
            try:
                must_have_few_scans(jpegs[number], pixels)
                # Positional arguments are faster, and this runs for every frame: fast DCT, fast
                # upsampling, minimum height and width.
                made = simplejpeg.decode_jpeg(jpegs[number], "RGB", True, True, *size, 1, picture)
            except ValueError as error:
                raise _unreadable(video, number, str(error)) from error
            if made.shape[:2] != size:
                raise _unreadable(video, number, f"decoded, it is {made.shape[:2]} pixels")
            decoded[number] = picture


def _unreadable(video: Video, frame: int, why: str) -> TrainerError:
    return TrainerError(
        f"Frame {frame} of {ascii(video.name)[1:-1]} in {video.shard} is no readable JPEG of "
        f"{video.height} x {video.width} pixels ({why}). The shard was changed after it was "
        "built; build it anew."
    )
