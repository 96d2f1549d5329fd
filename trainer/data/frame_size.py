"""The warning about frames smaller than the clips made from them."""

from collections.abc import Iterable, Sequence

from builder.shards.dataset import Video
from trainer.data.jpeg_decoding import decoded_size

_MARGIN = 8 / 7  # recommended short side over clip size, for cropping: 128 for 112, 256 for 224


def enlarged(videos: Sequence[Video], size: int, short_side: int) -> str:
    """A warning about videos whose frames, decoded for `short_side`, are smaller than a clip of
    size x size pixels, and what to do about it; "" if there are none."""
    stored = [video for video in videos if min(video.height, video.width) < size]
    decoded = [min(decoded_size(v.height, v.width, short_side)) for v in videos]
    small = sum(side < size for side in decoded)
    scaled = any(
        side < min(v.height, v.width, size) for side, v in zip(decoded, videos, strict=True)
    )
    if not small:
        return ""
    text = (
        f"Warning: the frames of {small} of {len(videos)} videos are enlarged, from "
        f"{_range(side for side in decoded if side < size)} pixels on the short side to clips of "
        f"{size} x {size}, which adds no detail."
    )
    if stored:
        wanted = _recommended(size)
        names = sorted({video.shard.name.rpartition("-")[0] for video in stored})
        # The shards do not say which sub-command and options they were built with.
        text += (
            f" Build {', '.join(names)} again with a larger short side: by the same `ascnet build` "
            f"as before, with --short-side {wanted} --out shards-{wanted} after its other options."
        )
    if scaled:
        text += (
            f" They are decoded at a smaller scale than they are stored, as short_side is "
            f"{short_side}: set it to {size} or more, or to 0."
        )
    return text


def _recommended(size: int) -> int:
    """The short side to build with for clips of `size` pixels: a multiple of 16."""
    return -(-round(size * _MARGIN) // 16) * 16


def _range(sides: Iterable[int]) -> str:
    ordered = sorted(sides)
    return str(ordered[0]) if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"
