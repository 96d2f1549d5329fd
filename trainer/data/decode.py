"""JPEGs to pixels."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import simplejpeg

from builder.shards.dataset import Video
from builder.shards.jpeg_scans import must_have_few_scans
from trainer.errors import TrainerError


@cache
def decoded_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width of a frame of height x width pixels decoded at the smallest of libjpeg's
    scales that leaves at least `short_side` pixels on both sides; 0: whole. Scales between 1/2 and
    1 are not taken: they cost more than whole frames."""
    header = _header_of(height, width)
    scaled = simplejpeg.decode_jpeg_header(header, min_height=short_side, min_width=short_side)
    if short_side == 0 or 2 * scaled[0] > height + 1:
        return height, width
    return int(scaled[0]), int(scaled[1])


def _header_of(height: int, width: int) -> bytes:
    """A JPEG that says that it has so many pixels: what large ones decode to costs no large one."""
    blank = bytearray(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = blank.index(b"\xff\xc0") + 5  # of the frame header (ITU T.81, B.2.2)
    blank[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(blank)


def canvas_of(videos: Sequence[Video], short_side: int) -> tuple[int, int]:
    """Height and width of the smallest canvas that every decoded frame of the videos fits."""
    sizes = {decoded_size(v.height, v.width, short_side) for v in videos}
    return max(h for h, _ in sizes), max(w for _, w in sizes)


def decode_clip(
    jpegs: Sequence[bytes], frames: Sequence[int], video: Video, canvas: np.ndarray, short_side: int
) -> tuple[int, int]:
    """Decode the JPEGs of the video's `frames` into `canvas` (uint8, T x H x W x 3), at the top
    left; height and width come back. Raises TrainerError for a frame that is no JPEG of the
    video's size."""
    height, width = decoded_size(video.height, video.width, short_side)
    fills = canvas.shape[1:3] == (height, width)
    pixels = video.height * video.width
    # Like the canvas, it fits no larger picture.
    frame_pixels = np.empty((height, width, 3), np.uint8)
    inside = canvas[:, :height, :width]
    for t, jpeg in enumerate(jpegs):
        try:
            must_have_few_scans(jpeg, pixels)
            # Arguments by their place, for it is done for every frame: fast cosine transform and
            # upsampling, least height and width.
            picture = simplejpeg.decode_jpeg(
                jpeg, "RGB", True, True, height, width, 1, canvas[t] if fills else frame_pixels
            )
        except ValueError as error:
            raise _unreadable(video, frames[t], str(error)) from error
        if picture.shape[:2] != (height, width):
            raise _unreadable(video, frames[t], f"decoded, it is {picture.shape[:2]} pixels")
        if not fills:
            inside[t] = frame_pixels
    return height, width


def _unreadable(video: Video, frame: int, why: str) -> TrainerError:
    return TrainerError(
        f"Frame {frame} of {ascii(video.name)[1:-1]} in {video.shard} is no readable JPEG of "
        f"{video.height} x {video.width} pixels ({why}). The shard was changed after it was "
        "built; build it anew."
    )
