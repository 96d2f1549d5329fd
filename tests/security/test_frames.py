"""A frame of a shard that others made is a JPEG of its video's size, or it is not opened."""

from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from builder.errors import BuilderError
from builder.shards.contact_sheet import draw_sheet
from builder.shards.jpeg import open_frame
from evaluate.pages.thumbnails import frames_of

# A program is started for PostScript, and PSD and FITS have had faults of their own.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"


def saved(kind: str, size: tuple[int, int] = (42, 32)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size).save(out, format=kind)
    return out.getvalue()


def with_header(width: int, height: int) -> bytes:
    """A JPEG whose header says another size than its data have."""
    jpeg = bytearray(simplejpeg.encode_jpeg(np.zeros((32, 42, 3), np.uint8)))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(jpeg)


FRAMES = [
    POSTSCRIPT,
    *(saved(kind) for kind in ("PNG", "TIFF", "GIF", "BMP", "EPS", "PDF")),
    with_header(65500, 65500),
    with_header(20000, 9000),
    saved("JPEG", (64, 64)),
    b"",
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: ascii(frame[:4]))
def test_another_picture_is_refused(frame, dataset):
    video = dataset.videos[0]
    size = f"{video.width} x {video.height}"
    with pytest.raises(BuilderError, match=rf"frame 3 of .* is no whole JPEG of {size} pixels"):
        open_frame(video, 3, frame)


@pytest.mark.parametrize("frame", [POSTSCRIPT, with_header(65500, 65500)], ids=["eps", "huge"])
def test_sheets_and_thumbnails(frame, dataset, monkeypatch):
    video = dataset.videos[0]
    for room in ("builder.shards.contact_sheet", "evaluate.pages.thumbnails"):
        monkeypatch.setattr(f"{room}.read_frames", lambda *_: [frame])
    with pytest.raises(BuilderError, match=r"frame 0 of .* is no whole JPEG"):
        draw_sheet(video, 4)
    with pytest.raises(BuilderError, match=r"frame 0 of .* is no whole JPEG"):
        frames_of(video, 0, video.frames)
