"""The record of one source video: its row of `videos.jsonl` and its sample's JSON member."""

import json
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any, NamedTuple

BUILT, FAILED, IGNORED = "built", "failed", "ignored"  # status of a source file


class VideoRow(NamedTuple):
    """One source file of a data set, and whether it was built.

    The fields are in the order of the row's keys. A failed video's row ends before `shard`. That of
    an ignored file, which is not a video of the data set, has only `key`, `name`, `status` and
    `reason`. `cuts` is present only if the build detected shots. Missing keys get the defaults.

    Attributes:
        key: of the sample; None if ignored
        name: path relative to the source folder
        class_name: "class" in the file
        label: 0-based
        group: source recording
        splits: {"1": "train", ...}
        factors: known factors of a synthetic video
        status: BUILT, FAILED or IGNORED
        reason: why it is not in the shards
        detail: first error message of the decoder, or that of the operating system
        last_line: last warning or error of the decoder
        source_bytes: size of the file
        source_sha256: of the file
        source_fps: average frame rate of the file
        source_nominal_fps: frame rate whose period all timestamps are multiples of
        source_duration: seconds
        rotation: degrees clockwise
        source_stream: index of the stream that was decoded
        source_video_streams: number of video streams in the file
        shard: file name
        fps: of the stored frames: the native rate, unless they were resampled
        frames: number of stored frames
        width: pixels
        height: pixels
        bytes: of all frames
        sha256: of all frames
        warnings: keys of `decode.frames.WARNINGS`
        times: seconds of every frame since the first one; None if frames are evenly spaced
        cuts: numbers of the frames at which a new shot begins; None if shots were not detected
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
        """Make a row from a parsed line. Keys that this version does not know are ignored."""
        if len(line) == len(_USUAL):
            with suppress(KeyError):  # most rows have these, and there may be a million
                return cls(*_usual_values(line))
        return cls(**{_FIELDS[key]: value for key, value in line.items() if key in _FIELDS})

    def to_json(self) -> dict[str, Any]:
        """The row as an object for JSON, its keys in the order of the file."""
        line = dict(zip(_FIELDS, self, strict=True))
        keys = _KEYS[self.status] + ([] if self.cuts is None else ["cuts"])
        return {key: line[key] for key in keys}


def sample_json(row: VideoRow, offsets: Sequence[int]) -> bytes:
    """A built video's JSON member in its shard. `offsets` are the byte offsets of the frames in the
    blob, and its end. The key `times` is present only if frames are unevenly spaced, and `cuts`
    only if the build detected shots."""
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
