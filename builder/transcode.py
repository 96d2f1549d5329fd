"""One video to JPEG frames, by one ffmpeg process; no frame touches the disk as a file."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from builder.errors import BuilderError

# The closed list of reasons why a video is not in the shards, and what each means to a person.
REASONS = {
    "missing": "the file is not there",
    "name not understood": "the file's name does not follow the data set's rule",
    "unreadable": "the file cannot be opened (permissions?)",
    "empty file": "the file holds no bytes",
    "not a video": "no known video format, or its header is destroyed",
    "truncated": "the end of the file is missing, and no frame can be decoded without it",
    "no video stream": "the file holds sound or data, but no pictures",
    "no frames": "there is a video stream, but no frame of it can be decoded (damaged, encrypted)",
    "decoder failed": "ffmpeg gave up in the middle",
    "timeout": "decoding took longer than the time limit",
}
# The closed list of remarks on a video that is in the shards all the same.
WARNINGS = {
    "damaged": "ffmpeg reported errors; frames may be missing or spoilt",
    "size changed": "the picture size changes in mid-stream; all frames have the first one's",
}


@dataclass(frozen=True)
class FrameSettings:
    """How frames are scaled and coded; a change makes different shards."""

    short_side: int = 128  # pixels
    jpeg_quality: int = 3  # ffmpeg's -q:v, 1 (best) .. 31
    timeout: float = 600.0  # seconds a video


@dataclass(frozen=True)
class Frames:
    """All frames of one video as a Motion-JPEG stream (JPEGs back to back)."""

    blob: bytes
    offsets: tuple[int, ...]  # byte offset of every frame, plus the end
    sha256: str  # of blob
    width: int  # pixels
    height: int  # pixels
    fps: float | None  # native average frame rate; None where the file does not say
    warnings: tuple[str, ...]  # keys of WARNINGS


@dataclass(frozen=True)
class Failure:
    """Why a video is not in the shards."""

    reason: str  # a key of REASONS
    detail: str  # ffmpeg's first complaint, or the operating system's


@cache
def find_ffmpeg() -> str:
    """Path of the ffmpeg to use: ASCNET_FFMPEG, else the one that imageio-ffmpeg brings.

    Raises BuilderError if ASCNET_FFMPEG names no program, or none came with imageio-ffmpeg.
    """
    if named := os.environ.get("ASCNET_FFMPEG"):
        if found := shutil.which(named):
            return found
        raise BuilderError(
            f"ASCNET_FFMPEG is {named!r}, which is no program. Correct it, or unset it to use the "
            "ffmpeg that comes with imageio-ffmpeg."
        )
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise BuilderError(
            "imageio-ffmpeg brought no ffmpeg for this platform. Install ffmpeg 5.1 or newer and "
            "set ASCNET_FFMPEG=ffmpeg."
        ) from error


@cache
def ffmpeg_version() -> str:
    """Version word of the ffmpeg in use, such as "7.0.2"; part of a build's settings."""
    out = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=False)
    words = out.stdout.split()
    if len(words) < 3 or words[0] != "ffmpeg":
        raise BuilderError(f"{find_ffmpeg()} is no ffmpeg: it answers {out.stdout[:80]!r}.")
    return words[2]


def transcode(path: Path, settings: FrameSettings) -> Frames | Failure:
    """Every frame of the video at its native rate, short side scaled to `settings.short_side`,
    aspect kept, rotation metadata honoured, pixels square.

    Never raises for a bad video: what is wrong comes back as a Failure. Raises BuilderError if
    ffmpeg is killed from outside.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                return Failure("empty file", "0 bytes")
    except FileNotFoundError:
        return Failure("missing", "no such file")
    except OSError as error:
        return Failure("unreadable", error.strerror or str(error))
    process = subprocess.Popen(
        _command(path, settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        blob, log = process.communicate(timeout=settings.timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Failure("timeout", f"stopped after {settings.timeout:g} s")
    except BaseException:
        process.kill()
        raise
    return _judge(blob, log.decode("utf-8", "replace"), process.returncode)


def _command(path: Path, settings: FrameSettings) -> list[str]:
    side = settings.short_side
    picture = ",".join(
        [
            # Broken files repeat or reverse time stamps, which the encoder refuses; frames are
            # all that we want, so time only has to rise.
            "settb=1/1000000",
            "setpts='if(isnan(PREV_OUTPTS),PTS,max(PTS,PREV_OUTPTS+1))'",
            # dar is the display aspect ratio: scaling to it makes pixels square.
            f"scale=w='if(gte(dar,1),2*round({side}*dar/2),{side})'"
            f":h='if(gte(dar,1),{side},2*round({side}/dar/2))'"
            # The same bytes on every processor, at no cost that could be measured.
            ":flags=bicubic+accurate_rnd+bitexact",
            "setsar=1",
        ]
    )
    # "file:" keeps names with a leading dash or a colon from being read as options or protocols.
    stream = ffmpeg.input(f"file:{path}", threads=1).output(
        "pipe:1",
        map="0:V:0",  # the first video stream that is no cover picture
        vf=picture,
        fps_mode="passthrough",
        enc_time_base="1/1000000",
        threads=1,
        fflags="+bitexact",
        flags="+bitexact",
        vcodec="mjpeg",
        pix_fmt="yuvj420p",
        format="mjpeg",
        **{"q:v": settings.jpeg_quality},
    )
    stream = stream.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info")
    return [str(word) for word in stream.compile(cmd=find_ffmpeg())]


_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_COMPLAINT = re.compile(r"\[(?:error|fatal|panic)\] (.*)")
_FPS = re.compile(r"Stream #0:\d+.*?: Video: .*?, ([\d.]+k?) fps")
_CUT = ("moov atom not found", "partial file", "Packet corrupt", "End of file")


def _judge(blob: bytes, log: str, status: int) -> Frames | Failure:
    """ffmpeg's output, what it said, and its exit status, made into one answer.

    Raises BuilderError if ffmpeg was killed: that says nothing of the video.
    """
    if status < 0:
        raise BuilderError(
            f"ffmpeg was stopped by signal {-status} (9 is often the system running out of memory: "
            "use fewer --workers). What is finished is kept; run the same command again."
        )
    complaints = _COMPLAINT.findall(_ADDRESS.sub("", log))
    detail = complaints[0].strip()[:200] if complaints else ""
    offsets, sizes = split_frames(blob)
    if len(offsets) < 2:
        return Failure(_reason_for_no_frames(log), detail)
    if status != 0:
        return Failure("decoder failed", detail)
    if len(sizes) > 1:
        return Failure("decoder failed", f"frames of {len(sizes)} sizes came out")
    width, height = sizes.pop()
    found = {
        "damaged": bool(complaints) or "corrupt decoded frame" in log,
        "size changed": "video parameters changed" in log and "Reconfiguring" in log,
    }
    fps = _FPS.search(log.partition("Output #0")[0])  # of the input, not of what we write
    return Frames(
        blob=blob,
        offsets=tuple(offsets),
        sha256=hashlib.sha256(blob).hexdigest(),
        width=width,
        height=height,
        fps=_number(fps[1]) if fps else None,
        warnings=tuple(name for name, is_so in found.items() if is_so),
    )


def _number(text: str) -> float:
    """ffmpeg writes 1000 fps as "1k"."""
    return float(text[:-1]) * 1000 if text.endswith("k") else float(text)


def _reason_for_no_frames(log: str) -> str:
    if "matches no streams" in log:
        return "no video stream"
    if "misdetection possible" in log:  # taken for a video by the ending of its name alone
        return "not a video"
    if any(sign in log for sign in _CUT):
        return "truncated"
    if "Stream mapping:" not in log:
        return "not a video"
    return "no frames"


def split_frames(stream: bytes) -> tuple[list[int], set[tuple[int, int]]]:
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
