"""The result of decoding one video: its frames, or the reason why there are none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from builder.errors import BuilderError, DecoderKilledError

# All reasons why a video may be missing from the shards, each with its explanation.
REASONS = {
    "missing": "the file does not exist",
    "name not understood": "the file's name does not follow the naming scheme of the data set",
    "unreadable": "the file cannot be opened; check its permissions",
    "empty file": "the file is empty (0 bytes)",
    "not a video": "the format is unknown, or the header is damaged",
    "a playlist": "the file refers to other files, which are not read; build those instead",
    "truncated": "the end of the file is missing, without which no frame can be decoded",
    "no video stream": "the file contains audio or data, but no video",
    "no frames": "the video stream gives no frame; the detail has the decoder's first error",
    "changed": "the file changed while it was read; build it again when it is complete",
    "decoder failed": "the decoder stopped or crashed before the end",
    "timeout": "reading or decoding took longer than --timeout",
    "too short": "fewer frames than --min-frames",
    "too elongated": "the frames' long side is more than --max-aspect times the short side",
    "too large": "frames or memory exceed a limit; the detail names the limit and its option",
}
# All warnings about videos that are in the shards nevertheless.
WARNINGS = {
    "damaged": "the decoder reported errors; frames may be missing or corrupted",
    "size changed": "the frame size changes within the video; all frames have the first size",
    "cut": "the video has more than --max-frames frames; the rest is left out",
    "colour tag": "the file's colour tags are not supported; decoded as untagged (BT.601)",
    "time jumps": "time stamps run backwards or have gaps; stored times rise, by 10 s at most",
}
CHROMA = ("420", "422", "444")


@dataclass(frozen=True)
class FrameSettings:
    """How frames are selected, scaled and encoded; any change makes different shards.

    Attributes:
        short_side: pixels; 256 for networks with 224 x 224 inputs
        jpeg_quality: ffmpeg's -q:v: 2 (best) .. 10; 3 is 40 dB at 5.4 KB per frame of UCF-101
        chroma: chroma subsampling, one of CHROMA; "444" keeps the colour of every pixel
        fps: resample to this rate; None: keep every frame of the file
        min_frames: shorter videos fail as "too short"
        max_frames: keep only so many frames from the start; None: all
        engine: "ffmpeg" or "pyav"
        shots: whether to detect cuts; the frames are the same
    """

    short_side: int = 128
    jpeg_quality: int = 3
    chroma: str = "420"
    fps: float | None = None
    min_frames: int = 1
    max_frames: int | None = None
    engine: str = "ffmpeg"
    shots: bool = False


@dataclass(frozen=True)
class SourceFacts:
    """Facts about a source file, whether its video was built or not.

    Attributes:
        source_bytes: size of the file
        source_sha256: of the file
        fps: average frame rate; None if the file does not state it
        nominal_fps: frame rate whose period all timestamps are multiples of, as guessed by libav
        duration: seconds, as stated by the container
        rotation: degrees clockwise that a player turns the picture by; honoured here
        stream: index of the stream that the frames were decoded from
        video_streams: number of video streams, without cover pictures
        last_line: last warning or error of the decoder
    """

    source_bytes: int | None = None
    source_sha256: str | None = None
    fps: float | None = None
    nominal_fps: float | None = None
    duration: float | None = None
    rotation: float | None = None
    stream: int | None = None
    video_streams: int | None = None
    last_line: str = ""


@dataclass(frozen=True)
class Frames:
    """All frames of one video as a Motion-JPEG stream (JPEGs back to back).

    Attributes:
        blob: the JPEGs
        offsets: byte offset of every frame in the blob, plus the end
        sha256: of the blob
        width: pixels
        height: pixels
        warnings: keys of WARNINGS
        detail: first error message of the decoder, or ""
        fps: average rate of these frames; None if unknown
        times: seconds of every frame since the first one (times[0] == 0.0), rising; None if frames
            are evenly spaced
        cuts: numbers of the frames at which a new shot begins; None if shots were not detected
    """

    blob: bytes | bytearray
    offsets: tuple[int, ...]
    sha256: str
    width: int
    height: int
    warnings: tuple[str, ...]
    facts: SourceFacts = field(default_factory=SourceFacts)
    detail: str = ""
    fps: float | None = None
    times: tuple[float, ...] | None = None
    cuts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Failure:
    """Why a video is not in the shards.

    Attributes:
        reason: a key of REASONS
        detail: first error message of the decoder, or that of the operating system
    """

    reason: str
    detail: str
    facts: SourceFacts = field(default_factory=SourceFacts)


def scaled_size(width: float, height: float, short_side: int) -> tuple[int, int]:
    """Width and height in pixels to which a frame shown as `width` x `height` is scaled; the long
    side is even."""
    if width >= height:
        return 2 * round(short_side * width / height / 2), short_side
    return short_side, 2 * round(short_side * height / width / 2)


def index_frames(stream: bytes | bytearray) -> tuple[list[int], set[bytes]]:
    """As `split_frames`, but for ffmpeg's output only (baseline JPEGs with nothing between them):
    four times as fast, which matters when many threads share one interpreter. Each size is
    returned as the four bytes of the frame header, height first."""
    offsets, sizes = frame_offsets(stream), set()
    for start in offsets[:-1]:
        header = stream.find(_FRAME_HEADER, start)
        sizes.add(bytes(stream[header + 5 : header + 9]))
    return offsets, sizes


def frame_offsets(stream: bytes | bytearray) -> list[int]:
    """The offsets of `split_frames`, for what a build has written."""
    return [0, *(match.end() for match in _END.finditer(stream))]


_END = re.compile(rb"\xff\xd9(?=\xff\xd8|\Z)")
_FRAME_HEADER = b"\xff\xc0\x00\x11\x08"  # marker, length, precision (ITU T.81, B.2.2)


def split_frames(stream: bytes | bytearray) -> tuple[list[int], set[tuple[int, int]]]:
    """Byte offsets of the JPEGs of a Motion-JPEG stream, plus the end, and the set of their
    (width, height).

    Walks the marker segments of each header (ITU T.81, B.1.1) up to the scan; inside a scan FF is
    always followed by 00 or a restart marker, so the next FF D9 ends the picture. An incomplete
    last picture is left out.
    """
    offsets, sizes = [0], set()
    at = 0
    while stream[at : at + 2] == b"\xff\xd8":
        size, at = None, at + 2
        while len(marker := stream[at : at + 2]) == 2 and marker[0] == 0xFF and marker[1] != 0xDA:
            if 0xC0 <= marker[1] <= 0xC2:  # a frame header: precision, height, width
                size = (
                    int.from_bytes(stream[at + 7 : at + 9], "big"),
                    int.from_bytes(stream[at + 5 : at + 7], "big"),
                )
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        end = stream.find(b"\xff\xd9", at)
        if end < 0 or size is None:
            break
        sizes.add(size)
        at = end + 2
        offsets.append(at)
    return offsets, sizes


def reason_for_no_frames(said: Sequence[str], *, has_video: bool) -> str:
    """The key of REASONS for a file without frames, from the warnings and errors of libav (ffmpeg
    or PyAV). `has_video` says whether libav recognised a video stream."""
    text = "\n".join(said)
    if "matches no streams" in text or "does not contain any stream" in text:
        return "no video stream"
    if "misdetection possible" in text:  # recognised by its file name extension only
        return "not a video"
    if "no decoder found" in text:
        return "no frames"
    if any(sign in text for sign in _CUT):
        return "truncated"
    return "no frames" if has_video else "not a video"


_CUT = ("moov atom not found", "partial file", "Packet corrupt", "End of file")


def crash(name: str, signal: int) -> Failure:
    """The Failure of a video whose decoder crashed, killed by `signal`. Raises BuilderError for
    signals sent from outside, which are not the video's fault."""
    if signal in _CRASHES:
        return Failure("decoder failed", f"{name} crashed ({_CRASHES[signal]})")
    if signal in (1, 2, 15):
        raise BuilderError(
            "The build was stopped. What is finished is kept; the same command goes on."
        )
    raise DecoderKilledError(
        f"{name} was stopped by signal {signal} (9 is often the system running out of memory: "
        "use fewer --workers). What is finished is kept; run the same command again."
    )


_CRASHES = {4: "illegal instruction", 6: "abort", 7: "bus error", 8: "arithmetic", 11: "segfault"}
