"""Decoding by one ffmpeg process a video: the engine of record. No frame touches the disk."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO

import ffmpeg
import imageio_ffmpeg

from builder.children import Children, ending_with_parent, time_limit
from builder.errors import BuilderError
from builder.frames import (
    MAX_BLOB,
    Facts,
    Failure,
    Frames,
    FrameSettings,
    crash,
    index_frames,
    reason_for_no_frames,
)

_PIPE_BYTES = 1 << 18  # larger pipes mean fewer switches between ffmpeg and us
_OLDEST = (5, 1)  # -fps_mode


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
    number = re.match(r"n?(\d+)\.(\d+)", words[2])  # builds of single commits are named otherwise
    if number and (int(number[1]), int(number[2])) < _OLDEST:
        raise BuilderError(
            f"{find_ffmpeg()} is ffmpeg {words[2]}, and 5.1 or newer is needed. Unset "
            "ASCNET_FFMPEG to use the one that comes with imageio-ffmpeg, or name another."
        )
    return words[2]


def decode(
    path: Path, settings: FrameSettings, timeout: float, children: Children
) -> Frames | Failure:
    """The frames of a video file. Raises BuilderError if ffmpeg is stopped from outside."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    with (
        os.fdopen(os.memfd_create("log"), "rb") as log,  # unlike a pipe, it need not be emptied
        children.start(
            [*ending_with_parent(), *_command(path, settings)], stderr=log, **pipes
        ) as process,
        time_limit(process, timeout) as expired,
    ):
        assert process.stdout is not None
        with suppress(OSError):  # only a matter of speed
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        blob = bytearray()
        while chunk := os.read(process.stdout.fileno(), _PIPE_BYTES):
            blob += chunk
            if len(blob) > MAX_BLOB:
                return Failure("too large", f"more than {MAX_BLOB} bytes of frames")
        status = process.wait()
        words = _read(log, path)
    if expired.is_set():
        return Failure("timeout", f"stopped after {timeout:g} s")
    return _judge(blob, words, status, settings)


def _read(log: IO[bytes], path: Path) -> str:
    """What ffmpeg said: the beginning, which describes the file, and the end. Without memory
    addresses and folders, which are others on every machine."""
    size = os.fstat(log.fileno()).st_size
    text = os.pread(log.fileno(), _LOG_BYTES, 0)
    if size > _LOG_BYTES:
        text += b"\n" + os.pread(log.fileno(), _LOG_BYTES, max(_LOG_BYTES, size - _LOG_BYTES))
    text = text.replace(os.fsencode(f"file:{path}"), os.fsencode(path.name))
    return _ADDRESS.sub("", text.decode("utf-8", "replace"))


_LOG_BYTES = 1 << 18


def _command(path: Path, settings: FrameSettings) -> list[str]:
    side = settings.short_side
    picture = [
        # Broken files repeat or reverse time stamps, which the encoder refuses; frames are
        # all that we want, so time only has to rise.
        "settb=1/1000000",
        "setpts='if(isnan(PREV_OUTPTS),PTS,max(PTS,PREV_OUTPTS+1))'",
        *([f"fps={settings.fps}"] if settings.fps else []),
        # dar is the display aspect ratio: scaling to it makes pixels square.
        f"scale=w='if(gte(dar,1),2*round({side}*dar/2),{side})'"
        f":h='if(gte(dar,1),{side},2*round({side}/dar/2))'"
        # Not a processor's own roundings: the same bytes on all of an architecture, at no cost.
        ":flags=bicubic+accurate_rnd+bitexact",
        "setsar=1",
    ]
    options = {"q:v": settings.jpeg_quality}
    if settings.max_frames:
        options["frames:v"] = settings.max_frames + 1  # one more, to know that there are more
    stream = ffmpeg.input(_INPUT, threads=1).output(
        "pipe:1",
        map="0:V:0",  # the first video stream that is no cover picture
        vf=",".join(picture),
        fps_mode="passthrough",
        enc_time_base="1/1000000",
        threads=1,
        fflags="+bitexact",
        flags="+bitexact",
        vcodec="mjpeg",
        pix_fmt=f"yuvj{settings.chroma}p",
        format="mjpeg",
        **options,
    )
    # Frames that can be decoded count, however many others cannot.
    stream = stream.global_args("-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info")
    stream = stream.global_args("-max_error_rate", "1")
    words = [str(word) for word in stream.compile(cmd=find_ffmpeg())]
    # ffmpeg-python takes no names with bytes that are no UTF-8, so it never sees the name. "file:"
    # keeps a leading dash or a colon from being read as an option or a protocol.
    return [f"file:{path}" if word == _INPUT else word for word in words]


_INPUT = "<the video>"

_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_STOPPED = re.compile(r"received signal (\d+)")
_SAID = re.compile(r"^(.*?)\[(warning|error|fatal|panic)\] (.*)", re.MULTILINE)


def _judge(blob: bytearray, log: str, status: int, settings: FrameSettings) -> Frames | Failure:
    """ffmpeg's output, what it said, and its exit status, made into one answer.

    Raises BuilderError if ffmpeg was stopped from outside: that says nothing of the video.
    """
    if status < 0:
        return crash("ffmpeg", -status)
    if signal := _STOPPED.search(log):  # it tidies up, and ends as if by itself
        return crash("ffmpeg", int(signal[1]))
    # The parts of ffmpeg speak at the same time: their order is chance, that of each is not.
    said = sorted(_SAID.findall(log), key=lambda line: (line[0] == "", line[0]))
    said = [line for line in said if "deprecated pixel format" not in line[2]]  # it means ours
    complaints = [text.strip() for _, level, text in said if level != "warning"]
    detail = complaints[0][:200] if complaints else ""
    facts = replace(_facts(log), last_line=said[-1][2].strip()[:200] if said else "")
    offsets, sizes = index_frames(blob)
    if len(offsets) < 2:
        return Failure(reason_for_no_frames(log), detail, facts)
    if "Stream mapping:" not in log:
        raise BuilderError(
            f"{find_ffmpeg()} made frames and said nothing of them; it must say what it reads "
            "(-loglevel level+info). Unset ASCNET_FFMPEG, or name another ffmpeg."
        )
    del blob[offsets[-1] :]
    if status != 0:
        return Failure("decoder failed", detail, facts)
    if len(sizes) > 1:
        return Failure("decoder failed", f"frames of {len(sizes)} sizes came out", facts)
    header = sizes.pop()
    height, width = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:], "big")
    cut = settings.max_frames is not None and len(offsets) - 1 > settings.max_frames
    if cut:
        offsets = offsets[: settings.max_frames + 1]  # type: ignore[operator]
        del blob[offsets[-1] :]
    found = {
        "damaged": bool(complaints) or "corrupt decoded frame" in log,
        "size changed": "video parameters changed" in log and "Reconfiguring" in log,
        "cut": cut,
    }
    return Frames(
        blob=blob,
        offsets=tuple(offsets),
        sha256=hashlib.sha256(blob).hexdigest(),
        width=width,
        height=height,
        warnings=tuple(name for name, is_so in found.items() if is_so),
        facts=facts,
        detail=detail,
    )


_MAPPED = re.compile(r"Stream mapping:\n\S* *Stream #0:(\d+)")
_RATE = r"([\d.]+k?)"
_DURATION = re.compile(r"Duration: (\d+):(\d\d):([\d.]+)")
_ROTATION = re.compile(r"(?i)display ?matrix: rotation of (-?[\d.]+) degrees")


def _facts(log: str) -> Facts:
    """What ffmpeg says of the file before it begins to write."""
    head = log.partition("Output #0")[0]
    mapped = _MAPPED.search(log)
    number = mapped[1] if mapped else r"\d+"
    stream = re.search(rf"Stream #0:{number}\b.*?: Video: .*", head)
    line, after = (stream[0], head[stream.end() :]) if stream else ("", "")
    fps, nominal = (re.search(rf", {_RATE} {unit}", line) for unit in ("fps", "tbr"))
    duration = _DURATION.search(head)
    rotation = _ROTATION.search(after.partition("Stream #")[0])
    return Facts(
        fps=_number(fps[1]) if fps else None,
        nominal_fps=_number(nominal[1]) if nominal else None,
        duration=_seconds(*duration.groups()) if duration else None,
        rotation=-float(rotation[1]) % 360 or None if rotation else None,
    )


def _number(text: str) -> float:
    """ffmpeg writes 1000 fps as "1k"."""
    return float(text[:-1]) * 1000 if text.endswith("k") else float(text)


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 3)
