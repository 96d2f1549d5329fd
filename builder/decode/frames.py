"""What comes of decoding one video: its frames, or the reason why there are none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from builder.errors import BuilderError, DecoderKilledError

# The closed list of reasons why a video is not in the shards, and what each means to a person.
REASONS = {
    "missing": "the file is not there",
    "name not understood": "the file's name does not follow the data set's rule",
    "unreadable": "the file cannot be opened (permissions?)",
    "empty file": "the file holds no bytes",
    "not a video": "no known video format, or its header is destroyed",
    "a playlist": "the file names other files, which are not read; build these themselves",
    "truncated": "the end of the file is missing, and no frame can be decoded without it",
    "no video stream": "the file holds sound or data, but no pictures",
    "no frames": "the video stream gives no frame; the detail has the decoder's first complaint",
    "changed": "the file changed while it was read; build it again when it is complete",
    "decoder failed": "the decoder gave up or crashed in the middle",
    "timeout": "reading or decoding took longer than --timeout allows",
    "too short": "fewer frames than --min-frames asks for",
    "too elongated": "one side of its frames is more than --max-aspect times the other",
    "too large": "it takes more memory than is allowed; the detail says of what, and the option",
}
# The closed list of remarks on a video that is in the shards all the same.
WARNINGS = {
    "damaged": "the decoder reported errors; frames may be missing or spoilt",
    "size changed": "the picture size changes in mid-stream; all frames have the first one's",
    "cut": "the video has more frames than --max-frames keeps",
    "colour tag": "the file names colours that cannot be converted; taken as untagged (BT.601)",
    "time jumps": "time stamps run backwards or leave a hole; time goes on, a hole is 10 s at most",
}
CHROMA = ("420", "422", "444")


@dataclass(frozen=True)
class FrameSettings:
    """How frames are chosen, scaled and coded; a change makes different shards.

    Attributes:
        short_side: pixels; 256 for networks at 224
        jpeg_quality: ffmpeg's -q:v: 2 (best) .. 10; 3 is 40 dB at 5.4 KB a frame of UCF-101
        chroma: "444" keeps the colour of every pixel
        fps: resample to this rate; None: every frame of the file
        min_frames: shorter videos are left out, as "too short"
        max_frames: the first so many are kept; None: all
        engine: "ffmpeg" or "pyav"
        shots: whether cuts are looked for; the frames are the same
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
    """What is known of a source file, built or not. A header's frame count is not among it.

    Attributes:
        fps: average frame rate; None where the file does not say
        nominal_fps: the rate of which all time stamps are multiples, guessed
        duration: seconds, as the container says
        rotation: degrees clockwise that a player turns it; honoured here
        stream: which of the file's streams the frames are of
        video_streams: how many it has, cover pictures excepted
        last_line: the last warning or error of the decoder
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
        offsets: byte offset of every frame, plus the end
        sha256: of blob
        width: pixels
        height: pixels
        warnings: keys of WARNINGS
        detail: the first complaint, if there was one
        fps: average rate of these frames; None: unknown
        times: seconds of every frame after the first one's (times[0] == 0.0), rising, one per
            frame; None where they are evenly spaced.
        cuts: numbers of the frames at which a new shot begins; None: not looked for
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
        detail: the decoder's first complaint, or the operating system's
    """

    reason: str
    detail: str
    facts: SourceFacts = field(default_factory=SourceFacts)


def scaled_size(width: float, height: float, short_side: int) -> tuple[int, int]:
    """Width and height (pixels, even where free) of a frame that is shown as `width` x `height`."""
    if width >= height:
        return 2 * round(short_side * width / height / 2), short_side
    return short_side, 2 * round(short_side * height / width / 2)


def index_frames(stream: bytes | bytearray) -> tuple[list[int], set[bytes]]:
    """As `split_frames`, for what ffmpeg has just written (baseline JPEGs, nothing between them):
    four times as fast, which matters where many workers share one interpreter. Each size comes
    as the four bytes of its frame header, height first."""
    ends = [match.end() for match in _END.finditer(stream)]
    offsets, sizes = [0, *ends], set()
    for start in offsets[:-1]:
        header = stream.find(_FRAME_HEADER, start)
        sizes.add(bytes(stream[header + 5 : header + 9]))
    return offsets, sizes


_END = re.compile(rb"\xff\xd9(?=\xff\xd8|\Z)")
_FRAME_HEADER = b"\xff\xc0\x00\x11\x08"  # marker, length, precision (ITU T.81, B.2.2)


def split_frames(stream: bytes | bytearray) -> tuple[list[int], set[tuple[int, int]]]:
    """Where the JPEGs of a Motion-JPEG stream begin (bytes; the end is added), and the set of
    their (width, height).

    Walks the marker segments of each header (ITU T.81, B.1.1) up to the scan; inside a scan FF is
    always followed by 00 or a restart marker, so the next FF D9 ends the picture. A last picture
    without its end is left out.
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
    """A key of REASONS for a file without one frame, from the warnings and errors of libav (ffmpeg
    or PyAV); `has_video`: it was understood as far as to name a video stream."""
    text = "\n".join(said)
    if "matches no streams" in text or "does not contain any stream" in text:
        return "no video stream"
    if "misdetection possible" in text:  # taken for a video by the ending of its name alone
        return "not a video"
    if "no decoder found" in text:
        return "no frames"
    if any(sign in text for sign in _CUT):
        return "truncated"
    return "no frames" if has_video else "not a video"


_CUT = ("moov atom not found", "partial file", "Packet corrupt", "End of file")


def crash(name: str, signal: int) -> Failure:
    """What a decoder's death by a signal says: a crash of its own is the video's fault. Raises
    BuilderError for any other: somebody stopped it."""
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
