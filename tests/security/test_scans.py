"""A frame of few bytes may ask for a hundred thousand passes over its picture."""

from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from builder.errors import BuilderError
from builder.shards import contact_sheet as sheet
from builder.shards import jpeg_scans
from builder.shards.jpeg import open_frame
from builder.shards.jpeg_scans import MOST_SCANS, must_have_few_scans
from builder.shards.verify import _undecodable
from builder.shards.video_row import VideoRow
from trainer.data.jpeg_decoding import decode_clips
from trainer.errors import TrainerError

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def progressive(size: tuple[int, int] = (48, 32)) -> bytes:
    out = BytesIO()
    Image.fromarray(PICTURE).resize(size).save(out, "JPEG", progressive=True)
    return out.getvalue()


def with_scans(jpeg: bytes, count: int) -> bytes:
    """The last scan so many times more."""
    at, end = jpeg.rindex(b"\xff\xda"), jpeg.rindex(b"\xff\xd9")
    return jpeg[:end] + jpeg[at:end] * count + jpeg[end:]


def behind(header: bytes, jpeg: bytes) -> bytes:
    return jpeg[:2] + header + jpeg[2:]


LARGE = 8192 * 8192  # pixels
BASELINE = simplejpeg.encode_jpeg(PICTURE)
MANY = with_scans(progressive(), 1000)
HIDDEN = {
    "progressive": MANY,
    "fill bytes": behind(b"\xff\xff\xff", MANY),
    "a marker without a length, then a baseline's header": behind(b"\xff\x01" + BASELINE[2:], MANY),
    "a segment of no length": behind(b"\xff\xe5\x00\x00", MANY),
    "colours one by one": with_scans(BASELINE, 1000).replace(
        b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x08\x01"
    ),
}


@pytest.mark.parametrize("frame", HIDDEN.values(), ids=HIDDEN.keys())
def test_more_scans_than_any_frame_has(frame, dataset, monkeypatch):
    monkeypatch.setattr(jpeg_scans, "_HARMLESS", 0)
    video = dataset.videos[0]
    with pytest.raises(ValueError, match=r"it has \d+ scans, and 32 are read at most"):
        must_have_few_scans(frame, 1)
    with pytest.raises(BuilderError, match=r"no whole JPEG of .* \(it has \d+ scans"):
        open_frame(video, 0, frame)
    clip = np.zeros((1, video.height, video.width, 3), np.uint8)
    with pytest.raises(TrainerError, match=r"no readable JPEG of .* \(it has \d+ scans"):
        decode_clips({0: frame}, [[0]], video, [clip])
    row = VideoRow(height=video.height, width=video.width)
    (said,) = _undecodable(frame, [0, len(frame)], row)
    assert "frame 0 cannot be decoded: it has" in said


@pytest.mark.parametrize(
    "frame",
    [BASELINE, progressive(), with_scans(progressive(), MOST_SCANS - 12), b"", b"\xff\xd8"],
    ids=["baseline", "progressive", "some more", "empty", "its start alone"],
)
def test_as_many_as_encoders_write(frame):
    must_have_few_scans(frame, LARGE)


def test_many_scans_are_refused_where_they_would_take_long():
    pixels = jpeg_scans._HARMLESS // len(MANY)
    must_have_few_scans(MANY, pixels)
    with pytest.raises(ValueError, match=r"it has \d+ scans, and 32 are read at most"):
        must_have_few_scans(MANY, pixels + 1)


def test_a_scan_of_all_colours_is_the_only_one_that_is_read():
    """So bytes that look like a scan's start are not looked for behind it."""
    must_have_few_scans(with_scans(BASELINE, 1000), LARGE)
    with pytest.raises(ValueError, match="more than one scan"):
        simplejpeg.decode_jpeg(with_scans(BASELINE, 1000))


def test_a_sheet_holds_one_whole_frame_at_a_time(dataset, monkeypatch):
    """They may be of 8192 x 8192 pixels, and a sheet shows up to a thousand."""
    held: list[int] = []

    class Frame:
        def __init__(self) -> None:
            held.append(1)

        def resize(self, size, how):
            held.pop()
            return Image.new("RGB", size)

    def opened(*_: object) -> Frame:
        assert not held
        return Frame()

    monkeypatch.setattr(sheet, "open_frame", opened)
    assert sheet.draw_sheet(dataset.videos[0], 8).size[0] > 100
