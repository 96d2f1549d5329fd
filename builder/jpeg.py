"""A stored frame as a picture."""

from io import BytesIO

from PIL import Image

from builder.shard import Video


def open_jpeg(jpeg: bytes, video: Video) -> Image.Image:
    """A frame of `video`, RGB. Raises OSError if it is no whole JPEG of the video's size: a shard
    that others made may hold any other kind of picture, for some of which programs are started."""
    try:
        picture = Image.open(BytesIO(jpeg), formats=("JPEG",))
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from error
    if picture.size != (video.width, video.height):
        raise OSError(
            f"it has {picture.width} x {picture.height} pixels, and its row says "
            f"{video.width} x {video.height}"
        )
    return picture.convert("RGB")
