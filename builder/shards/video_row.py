"""The record of one source video: its line of `videos.jsonl` and its sample's JSON member."""

import json
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple

BUILT, FAILED, IGNORED = "built", "failed", "ignored"  # what became of a source file


class VideoRow(NamedTuple):
    """One source file of a data set, and what became of it.

    The fields stand in the order of the line. A failed video's line ends before `shard`; an ignored
    file, which is no video of the data set, has `key`, `name`, `status` and `reason` only. `cuts`
    are there only where the build looked for them. What a line lacks is read as the default.

    Attributes:
        key: of the sample; None where ignored
        name: path below the source folder
        class_name: "class" in the file
        label: 0-based
        group: source recording
        status: BUILT, FAILED or IGNORED
        reason: why it is not in the shards
        detail: the decoder's first complaint, or the operating system's
        last_line: the last warning or error of the decoder
        source_fps: average frame rate of the file
        source_nominal_fps: the rate of which all time stamps are multiples
        source_duration: seconds
        rotation: degrees clockwise
        source_stream: index of the stream that was decoded
        source_video_streams: how many there are
        shard: file name
        fps: of the stored frames: the native rate, unless they were resampled
        width: pixels
        height: pixels
        bytes: of all frames
        sha256: of all frames
        times: seconds of every frame after the first one's; None where frames are evenly spaced.
        cuts: numbers of the frames at which a new shot begins; None: not looked for
    """

    key: int | None = None
    name: str = ""
    class_name: str | None = None
    label: int | None = None
    group: str = ""
    splits: dict[str, str] = {}  # noqa: RUF012 ({"1": "train", ...}; nobody changes a row)
    factors: dict[str, Any] | None = None
    status: str = ""
    reason: str | None = None
    detail: str = ""
    last_line: str = ""
    source_bytes: int | None = None
    source_sha256: str | None = None
    source_fps: float | None = None
    source_nominal_fps: float | None = None
    source_duration: float | None = None
    rotation: float | None = None
    source_stream: int | None = None
    source_video_streams: int | None = None
    shard: str = ""
    fps: float | None = None
    frames: int = 0
    width: int = 0
    height: int = 0
    bytes: int = 0
    sha256: str = ""
    warnings: Sequence[str] = ()
    times: Sequence[float] | None = None
    cuts: Sequence[int] | None = None

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> "VideoRow":
        """The row that a line says. Keys that this version does not know are passed over."""
        if len(line) == len(_USUAL):
            with suppress(KeyError):  # most rows have these, and there may be a million
                return cls(*_usual_values(line))
        return cls(**{_FIELDS[key]: value for key, value in line.items() if key in _FIELDS})

    def to_json(self) -> dict[str, Any]:
        """The values of the line, in its order."""
        line = dict(zip(_FIELDS, self, strict=True))
        keys = _KEYS[self.status] + ([] if self.cuts is None else ["cuts"])
        return {key: line[key] for key in keys}


def sample_json(row: VideoRow, offsets: Sequence[int]) -> bytes:
    """A built video's JSON member of its shard. `offsets`: the byte at which each frame begins, and
    the end. There is a key `times` only where frames are unevenly spaced, and `cuts` only
    where the build looked for them."""
    stored = row.to_json() | {"frames": len(offsets) - 1, "offsets": offsets}
    keys = _SAMPLE_KEYS + (["times"] if row.times else [])
    keys += [] if row.cuts is None else ["cuts"]
    return json.dumps({key: stored[key] for key in keys}, separators=(",", ":")).encode("ascii")


_FIELDS = {"class" if name == "class_name" else name: name for name in VideoRow._fields}
_USUAL = [key for key in _FIELDS if key != "cuts"]
_usual_values = itemgetter(*_USUAL)
_KEYS = {
    BUILT: _USUAL,
    FAILED: _USUAL[: _USUAL.index("shard")],
    IGNORED: ["key", "name", "status", "reason"],
}
_SAMPLE_KEYS = [
    *("name", "class", "label", "group", "splits", "fps", "width", "height"),
    *("frames", "offsets", "sha256", "factors"),
]
