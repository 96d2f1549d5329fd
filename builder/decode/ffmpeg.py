"""Decoding by one ffmpeg process a video: the engine of record. No frame touches the disk."""

import fcntl
import hashlib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from io import FileIO
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

from builder.decode.colour_tags import taken_as_unknown
from builder.decode.ffmpeg_log import COLOURED, UNWANTED, FfmpegLog, VideoStream
from builder.decode.formats import NOT_READ, ONLY_READ, PROTOCOL
from builder.decode.frame_times import setpts, spacing
from builder.decode.frames import (
    WARNINGS,
    Failure,
    Frames,
    FrameSettings,
    SourceFacts,
    crash,
    index_frames,
    reason_for_no_frames,
)
from builder.decode.log_pipe import LogPipe
from builder.decode.processes import Children, ending_with_parent, limit_memory, time_limit
from builder.errors import BuilderError
from builder.video_limits import MEMORY_SAID, PIXELS_SAID, Limits

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


@dataclass(frozen=True)
class _Way:
    """How to go about a file: as ffmpeg would, unless a first try says otherwise."""

    stream: int | None = None  # None: the one that ffmpeg takes for the best
    no_matrix: bool = False  # whether to pass over its colour matrix


@dataclass(frozen=True)
class _Output:
    """What one ffmpeg process left behind."""

    blob: bytearray  # of JPEGs
    stamps: tuple[float | None, ...]  # seconds, of every frame that was decoded
    log: FfmpegLog
    status: int

    @property
    def is_picture(self) -> bool:
        """Whether there is one frame at the most, as of a poster or of a stream without data."""
        return len(self.stamps) < 2


def decode(
    path: Path, settings: FrameSettings, limits: Limits, children: Children
) -> Frames | Failure:
    """The frames of a video file. Raises BuilderError if ffmpeg is stopped from outside."""
    deadline = time.monotonic() + limits.seconds

    def run(way: _Way) -> _Output:
        return _run(path, settings, way, limits, deadline, children)

    try:
        way, output = _Way(), run(_Way())
        if output.status > 0 and output.log.says("reinitializing filters"):
            way = _Way(no_matrix=True)
            output = run(way)
        if output.is_picture and output.status >= 0 and output.log.signal is None:
            output = _moving(output, way, run)
    except _TooLargeError as error:
        return Failure("too large", str(error))
    except _ExpiredError:
        return Failure("timeout", f"stopped after {limits.seconds:g} s")
    return _judge(output, settings, limits)


def _moving(output: _Output, way: _Way, run: Callable[[_Way], _Output]) -> _Output:
    """The output of another video stream of the file, if that has more frames."""
    order = {stream.index: stream.order for stream in output.log.streams}
    tried = {picture.stream for picture in output.log.pictures}
    others = [index for index in output.log.video_streams if index not in tried]
    if len(others) + len(tried) < 2:
        return output
    for index in sorted(others, key=lambda index: order.get(index, (False, 0)), reverse=True):
        other = run(replace(way, stream=index))
        if len(other.stamps) > len(output.stamps):
            output = other
        if not output.is_picture:
            break
    return output


class _TooLargeError(Exception):
    """More frames came than are kept of one video."""


class _ExpiredError(Exception):
    """The time for one video has passed."""


def _run(
    path: Path,
    settings: FrameSettings,
    way: _Way,
    limits: Limits,
    deadline: float,
    children: Children,
) -> _Output:
    """Start ffmpeg and take what it writes. Raises _TooLargeError and _ExpiredError."""
    with (
        _pipe() as (stamps, times),
        _pipe() as (log, words),
        children.start(
            [*ending_with_parent(), *_command(path, settings, limits, way, times.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            pass_fds=(times.fileno(),),
            env=_environment(),
        ) as process,
        time_limit(process, max(0.0, deadline - time.monotonic())) as expired,
    ):
        limit_memory(process, limits.memory)
        times.close()  # ffmpeg has its own
        words.close()
        assert process.stdout is not None
        with suppress(OSError):  # only a matter of speed
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        log_pipe = LogPipe(log.fileno())
        blob, said = _read_both(process.stdout.fileno(), stamps.fileno(), log_pipe, limits)
        text = log_pipe.take_all()
        status = process.wait()
    if expired.is_set():
        raise _ExpiredError
    return _Output(blob, _stamps(said), FfmpegLog(text, path), status)


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Both ends of a pipe, to read and to write."""
    read_end, write_end = os.pipe()
    with FileIO(read_end, "r") as reader, FileIO(write_end, "w") as writer:
        yield reader, writer


def _read_both(
    pictures: int, times: int, log: LogPipe, limits: Limits
) -> tuple[bytearray, bytearray]:
    """All that comes from two pipes; the log is kept flowing. Raises _TooLargeError."""
    got = {pictures: bytearray(), times: bytearray()}
    poll = select.poll()
    for pipe in got:
        poll.register(pipe, select.POLLIN)
    left, lines, looked = set(got), 0, time.monotonic()
    while left:
        # The log has a pipe to fill, so there is no need to wake up for each of its words.
        for pipe, _ in poll.poll(_LOOK * 1000):
            chunk = os.read(pipe, _PIPE_BYTES)
            got[pipe] += chunk
            if not chunk:
                poll.unregister(pipe)
                left.remove(pipe)
            if pipe == times:
                lines += chunk.count(b"\n")
        if (now := time.monotonic()) - looked >= _LOOK:
            log.take()
            looked = now
        if len(got[pictures]) > limits.stored:
            raise _TooLargeError(limits.too_many_bytes)
        if lines > _LINES * limits.frames:
            raise _TooLargeError(limits.too_many_frames)
    return got[pictures], got[times]


_LOOK = 0.02  # seconds between two looks at the log, whatever else comes
_LINES = 2  # that the filter `metadata` prints of a frame


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in UNWANTED} | COLOURED


def _stamps(said: bytes | bytearray) -> tuple[float | None, ...]:
    """The time stamps (seconds) that ffmpeg's filter `metadata` printed; None: it knew none."""
    found = re.findall(rb"^frame:\d+ +pts:\S+ +pts_time:(\S+)", said, re.MULTILINE)
    return tuple(None if b"N" in stamp else float(stamp) for stamp in found)


def _command(
    path: Path, settings: FrameSettings, limits: Limits, way: _Way, times: int
) -> list[str]:
    side = settings.short_side
    unknown = ["color_primaries=unknown", "color_trc=unknown"]  # used by no conversion here
    if way.no_matrix:
        unknown.append("colorspace=unknown")
    picture = [
        # A line for every frame as it is decoded; the file's own words on it do not go there.
        "metadata=mode=delete",
        "metadata=mode=add:key=frame:value=1",
        f"metadata=mode=print:file=/dev/fd/{times}",
        f"setparams={':'.join(unknown)}",
        "settb=1/1000000",
        *([f"setpts='{setpts(1 / 25)}'", f"fps={settings.fps}"] if settings.fps else []),
        # dar is the display aspect ratio: scaling to it makes pixels square.
        f"scale=w='if(gte(dar,1),2*round({side}*dar/2),{side})'"
        f":h='if(gte(dar,1),{side},2*round({side}/dar/2))'"
        # JPEGs are BT.601. Frames that are not go by way of RGB, in full resolution.
        ":out_color_matrix=bt601"
        # Not a processor's own roundings: the same bytes on all of an architecture, at no cost.
        ":flags=bicubic+accurate_rnd+bitexact+full_chroma_int",
        "setsar=1",
        # The encoder refuses time that does not rise. From here on time says nothing, so it is the
        # clock's: the file's may begin again, as all filters do when the picture size changes.
        "settb=1/1000000",
        "setpts='max(RTCTIME,if(isnan(PREV_OUTPTS),0,PREV_OUTPTS+1))'",
    ]
    options: dict[str, object] = {"q:v": settings.jpeg_quality}
    if settings.max_frames:
        options["frames:v"] = settings.max_frames + 1  # one more, to know that there are more
    if way.stream is not None:
        options["map"] = f"0:{way.stream}"
    # What a file says opens no other: ffmpeg reads playlists and much else, if it is let.
    only = {"format_whitelist": ONLY_READ, "protocol_whitelist": PROTOCOL}
    stream = ffmpeg.input(_INPUT, threads=1, max_pixels=limits.pixels, **only).output(
        "pipe:1",
        map_metadata=-1,
        map_chapters=-1,
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
    stream = stream.global_args("-hide_banner", "-nostdin", "-nostats")
    stream = stream.global_args("-loglevel", "level+verbose")
    stream = stream.global_args("-benchmark")  # says at the end how much memory it took
    # Frames that can be decoded count, however many others cannot.
    stream = stream.global_args("-max_error_rate", "1")
    words = [str(word) for word in stream.compile(cmd=find_ffmpeg())]
    # ffmpeg-python takes no names with bytes that are no UTF-8, so it never sees the name. "file:"
    # keeps a leading dash or a colon from being read as an option or a protocol.
    return [f"file:{path}" if word == _INPUT else word for word in words]


_INPUT = "<the video>"
_STOPPED = 255  # ffmpeg's exit status after a signal, and after an error of number 1


def _judge(output: _Output, settings: FrameSettings, limits: Limits) -> Frames | Failure:
    """ffmpeg's output, what it said, and its exit status, made into one answer.

    Raises BuilderError if ffmpeg was stopped from outside: that says nothing of the video.
    """
    blob, log, status = output.blob, output.log, output.status
    if status < 0:
        return crash("ffmpeg", -status)
    if status == _STOPPED and log.signal is not None:
        return crash("ffmpeg", log.signal)
    stream = _stream_of(log)
    facts = _facts(log, stream)
    detail = log.errors[0][:200] if log.errors else ""
    if stream is not None and stream.is_cover:
        return Failure("no video stream", "only a cover picture", facts)
    offsets, sizes = index_frames(blob)
    if len(offsets) < 2 or _ran_out(log, limits):  # what lacks of the frames then is chance
        return _without_frames(log, limits, detail, facts)
    if not log.pictures:
        raise BuilderError(
            f"{find_ffmpeg()} made frames and said nothing of them; it must say what it reads "
            "(-loglevel level+verbose). Unset ASCNET_FFMPEG, or name another ffmpeg."
        )
    del blob[offsets[-1] :]
    if status != 0 or len(sizes) > 1:
        sort = f"frames of {len(sizes)} sizes came out" if status == 0 else detail
        return Failure("decoder failed", sort, facts)
    header = sizes.pop()
    height, width = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:], "big")
    cut = settings.max_frames is not None and len(offsets) - 1 > settings.max_frames
    if cut:
        offsets = offsets[: settings.max_frames + 1]  # type: ignore[operator]
        del blob[offsets[-1] :]
    stamps = output.stamps if settings.fps else output.stamps[: len(offsets) - 1]
    lie = spacing(stamps, facts.fps)
    tag = taken_as_unknown(*stream.colours) if stream else ""
    found = {
        "damaged": bool(log.errors) or log.says("corrupt decoded frame"),
        "size changed": len({picture.size for picture in log.pictures}) > 1,
        "cut": cut,
        "colour tag": bool(tag),
        "time jumps": lie.jumps or log.says("timestamp discontinuity"),
    }
    return Frames(
        blob=blob,
        offsets=tuple(offsets),
        sha256=hashlib.sha256(blob).hexdigest(),
        width=width,
        height=height,
        warnings=tuple(name for name in WARNINGS if found[name]),
        fps=settings.fps or lie.fps,
        times=None if settings.fps else lie.times,
        facts=facts,
        detail=detail or tag,
    )


def _without_frames(log: FfmpegLog, limits: Limits, detail: str, facts: SourceFacts) -> Failure:
    """Why no frames are kept."""
    if _ran_out(log, limits):
        return Failure("too large", limits.too_much_memory, facts)
    for error in log.errors:
        if large := re.search(PIXELS_SAID, error):
            return Failure("too large", limits.too_many_pixels(large[1]), facts)
    if not log.opened and log.says(NOT_READ):
        return Failure("not a video", NOT_READ, facts)
    said = [message.text for message in log.complaints]
    return Failure(reason_for_no_frames(said, has_video=log.opened), detail, facts)


def _ran_out(log: FfmpegLog, limits: Limits) -> bool:
    return log.says(MEMORY_SAID) and limits.ran_out(log.peak)


def _stream_of(log: FfmpegLog) -> VideoStream | None:
    """The stream that the frames are of."""
    taken = log.pictures[0].stream if log.pictures else None
    if taken is None and len(log.streams) == 1:
        return log.streams[0]
    return next((stream for stream in log.streams if stream.index == taken), None)


def _facts(log: FfmpegLog, stream: VideoStream | None) -> SourceFacts:
    """What ffmpeg says of the file."""
    rotation = stream.rotation if stream else None
    picture = log.pictures[0] if log.pictures else None
    nominal = picture.rate if picture else None
    return SourceFacts(
        fps=stream.rate("fps") if stream else None,
        nominal_fps=stream.rate("tbr") if stream else nominal,
        duration=log.duration,
        rotation=-rotation % 360 or None if rotation is not None else None,
        stream=picture.stream if picture else None,
        video_streams=len(log.video_streams),
        last_line=log.complaints[-1].text[:200] if log.complaints else "",
    )
