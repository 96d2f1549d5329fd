"""Decode by one ffmpeg process per video: the default engine. Frames come through a pipe."""

import fcntl
import hashlib
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from io import FileIO
from pathlib import Path

import imageio_ffmpeg

from builder.decode.colour_tags import taken_as_unknown
from builder.decode.ffmpeg_arguments import LINES, Way, arguments
from builder.decode.ffmpeg_log import COLOURED, UNWANTED, FfmpegLog, VideoStream
from builder.decode.formats import NOT_READ
from builder.decode.frame_times import spacing
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
from builder.decode.shots import cuts_in
from builder.errors import BuilderError
from builder.video_limits import MEMORY_SAID, PIXELS_SAID, Limits

_PIPE_BYTES = 1 << 18  # larger pipes mean fewer switches between ffmpeg and us
_LOOK = 0.02  # seconds between two reads of the log
_STOPPED = 255  # ffmpeg's exit status after a signal, and after an error with number 1
_OLDEST = (5, 1)  # the first version with -fps_mode


@cache
def find_ffmpeg() -> str:
    """Path of the ffmpeg to use: ASCNET_FFMPEG, else the one in imageio-ffmpeg.

    Raises BuilderError if ASCNET_FFMPEG names no program, or imageio-ffmpeg contains none.
    """
    if named := os.environ.get("ASCNET_FFMPEG"):
        if program := shutil.which(named):
            return program
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
    """Version of the ffmpeg in use, such as "7.0.2"; part of a build's settings. Raises
    BuilderError if it is older than 5.1, or is no ffmpeg."""
    out = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=False)
    words = out.stdout.split()
    if len(words) < 3 or words[0] != "ffmpeg":
        raise BuilderError(f"{find_ffmpeg()} is no ffmpeg: it answers {out.stdout[:80]!r}.")
    number = re.match(r"n?(\d+)\.(\d+)", words[2])  # builds of single commits have other names
    if number and (int(number[1]), int(number[2])) < _OLDEST:
        raise BuilderError(
            f"{find_ffmpeg()} is ffmpeg {words[2]}, and 5.1 or newer is needed. Unset "
            "ASCNET_FFMPEG to use the one that comes with imageio-ffmpeg, or name another."
        )
    return words[2]


@dataclass(frozen=True)
class _Output:
    """The output of one ffmpeg process."""

    blob: bytearray  # JPEGs back to back
    stamps: tuple[float | None, ...]  # seconds; of every decoded frame
    differences: tuple[float, ...]  # of every stored frame from the one before; () without `shots`
    log: FfmpegLog
    status: int

    @property
    def is_picture(self) -> bool:
        """Whether there is at most one frame, as in a poster or a stream without data."""
        return len(self.stamps) < 2


def decode(
    path: Path, settings: FrameSettings, limits: Limits, children: Children
) -> Frames | Failure:
    """Decode the frames of a video file. Raises BuilderError if ffmpeg is killed from outside."""
    deadline = time.monotonic() + limits.seconds

    def run(way: Way) -> _Output:
        return _run(path, settings, way, limits, deadline, children)

    try:
        way, output = Way(), run(Way())
        if output.status > 0 and output.log.says("reinitializing filters"):
            way = Way(no_matrix=True)
            output = run(way)
        if output.is_picture and output.status >= 0 and output.log.signal is None:
            output = _moving(output, way, run)
    except _TooLargeError as error:
        return Failure("too large", str(error))
    except _ExpiredError:
        return Failure("timeout", f"stopped after {limits.seconds:g} s")
    return _judge(output, settings, limits)


def _moving(output: _Output, way: Way, run: Callable[[Way], _Output]) -> _Output:
    """Try the file's other video streams: the output of the first one that moves, else of the one
    with the most frames."""
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
    """The frames of one video exceed the limits."""


class _ExpiredError(Exception):
    """The time limit of one video has passed."""


def _run(
    path: Path,
    settings: FrameSettings,
    way: Way,
    limits: Limits,
    deadline: float,
    children: Children,
) -> _Output:
    """Run ffmpeg and read its output. Raises _TooLargeError and _ExpiredError."""
    with (
        _pipe() as (stamps, stamps_end),
        _pipe() as (differences, differences_end),
        _pipe() as (log, log_end),
        children.start(
            [
                *(*ending_with_parent(), find_ffmpeg()),
                *arguments(
                    *(path, settings, limits, way),
                    *(stamps_end.fileno(), differences_end.fileno()),
                ),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_end,
            pass_fds=(stamps_end.fileno(), differences_end.fileno()),
            env={k: v for k, v in os.environ.items() if k not in UNWANTED} | COLOURED,
        ) as process,
        time_limit(process, max(0.0, deadline - time.monotonic())) as expired,
    ):
        limit_memory(process, limits.memory)
        for end in (stamps_end, differences_end, log_end):
            end.close()  # ffmpeg has its own copy
        assert process.stdout is not None
        with suppress(OSError):  # only a matter of speed
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        log_pipe = LogPipe(log.fileno())
        pipes = (process.stdout.fileno(), stamps.fileno(), differences.fileno())
        blob, lines, changes = _read_all(*pipes, log_pipe, limits)
        text = log_pipe.take_all()
        status = process.wait()
    if expired.is_set():
        raise _ExpiredError
    # The timestamps that the filter `metadata` printed; N where ffmpeg knew none.
    times = re.findall(rb"^frame:\d+ +pts:\S+ +pts_time:(\S+)", lines, re.MULTILINE)
    seconds = tuple(None if b"N" in stamp else float(stamp) for stamp in times)
    mafd = tuple(map(float, re.findall(rb"^lavfi\.scd\.mafd=(\S+)", changes, re.MULTILINE)))
    return _Output(blob, seconds, mafd, FfmpegLog(text, path), status)


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Open a pipe: its read end and its write end."""
    read_end, write_end = os.pipe()
    with FileIO(read_end, "r") as reader, FileIO(write_end, "w") as writer:
        yield reader, writer


def _read_all(
    pictures: int, times: int, differences: int, log: LogPipe, limits: Limits
) -> Iterable[bytearray]:
    """Read three pipes to their end, and drain the log meanwhile. Raises _TooLargeError."""
    got = {pictures: bytearray(), times: bytearray(), differences: bytearray()}
    poll = select.poll()
    for pipe in got:
        poll.register(pipe, select.POLLIN)
    open_pipes, lines, looked = len(got), 0, time.monotonic()
    while open_pipes:
        # The log is not polled: its pipe buffers it between two reads, which saves wake-ups.
        for pipe, _ in poll.poll(_LOOK * 1000):
            chunk = os.read(pipe, _PIPE_BYTES)
            got[pipe] += chunk
            if not chunk:
                poll.unregister(pipe)
                open_pipes -= 1
            if pipe == times:
                lines += chunk.count(b"\n")
        if (now := time.monotonic()) - looked >= _LOOK:
            log.take()
            looked = now
        if len(got[pictures]) > limits.stored:
            raise _TooLargeError(limits.too_many_bytes)
        if lines > LINES * limits.frames:
            raise _TooLargeError(limits.too_many_frames)
    return got.values()


def _judge(output: _Output, settings: FrameSettings, limits: Limits) -> Frames | Failure:
    """Turn ffmpeg's output, log and exit status into Frames or a Failure.

    Raises BuilderError if ffmpeg was killed from outside, which is not the video's fault.
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
    if len(offsets) < 2 or _ran_out(log, limits):  # short of memory, frames are chance
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
    spaced = spacing(stamps, facts.fps)
    tag = taken_as_unknown(*stream.colours) if stream else ""
    marks = {
        "damaged": bool(log.errors) or log.says("corrupt decoded frame"),
        "size changed": len({picture.size for picture in log.pictures}) > 1,
        "cut": cut,
        "colour tag": bool(tag),
        "time jumps": spaced.jumps or log.says("timestamp discontinuity"),
    }
    return Frames(
        blob=blob,
        offsets=tuple(offsets),
        sha256=hashlib.sha256(blob).hexdigest(),
        width=width,
        height=height,
        warnings=tuple(name for name in WARNINGS if marks[name]),
        fps=settings.fps or spaced.fps,
        times=None if settings.fps else spaced.times,
        cuts=cuts_in(output.differences[: len(offsets) - 1]) if settings.shots else None,
        facts=facts,
        detail=detail or tag,
    )


def _without_frames(log: FfmpegLog, limits: Limits, detail: str, facts: SourceFacts) -> Failure:
    """The Failure of a video that no frames are kept of."""
    if _ran_out(log, limits):
        return Failure("too large", limits.too_much_memory, facts)
    for error in log.errors:
        if large := re.search(PIXELS_SAID, error):
            return Failure("too large", limits.too_many_pixels(large[1]), facts)
    if not log.opened and log.says(NOT_READ):
        return Failure("not a video", NOT_READ, facts)
    complaints = [message.text for message in log.complaints]
    return Failure(reason_for_no_frames(complaints, has_video=log.opened), detail, facts)


def _ran_out(log: FfmpegLog, limits: Limits) -> bool:
    return log.says(MEMORY_SAID) and limits.ran_out(log.peak)


def _stream_of(log: FfmpegLog) -> VideoStream | None:
    """The stream that the frames were decoded from."""
    taken = log.pictures[0].stream if log.pictures else None
    if taken is None and len(log.streams) == 1:
        return log.streams[0]
    return next((stream for stream in log.streams if stream.index == taken), None)


def _facts(log: FfmpegLog, stream: VideoStream | None) -> SourceFacts:
    """Facts about the file from ffmpeg's log."""
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
