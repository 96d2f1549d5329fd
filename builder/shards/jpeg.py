"""Decode a stored frame into a PIL image."""

from io import BytesIO

import simplejpeg
from PIL import Image

from builder.errors import BuilderError
from builder.shards.dataset import Video
from builder.shards.jpeg_scans import must_have_few_scans


def open_frame(video: Video, number: int, jpeg: bytes) -> Image.Image:
    """Decode frame `number` of `video` to RGB. Raises BuilderError unless `jpeg` is a complete JPEG
    of the video's frame size. Images of other sizes are not decoded, and neither are other formats,
    for some of which PIL starts programs."""
    try:
        must_have_few_scans(jpeg, video.width * video.height)
        height, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
        if (width, height) != (video.width, video.height):
            raise ValueError(f"{width} x {height} pixels")
        return Image.open(BytesIO(jpeg), formats=("JPEG",)).convert("RGB")
    except (OSError, ValueError) as error:
        raise BuilderError(
            f"{video.shard}: frame {number} of {ascii(video.name)[1:-1]} is no whole JPEG of "
            f"{video.width} x {video.height} pixels ({error}). The file was changed after it was "
            "built; copy it again, or delete the folder and build anew."
        ) from error
