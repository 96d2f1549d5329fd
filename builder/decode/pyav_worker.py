"""A process that decodes one video after the other: `python -P -m builder.decode.pyav_worker`.

It reads a line of JSON for every video from stdin, and writes a line of JSON and then the frames to
stdout. Started and supervised by builder.decode.pyav.
"""

import json
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from builder.decode.colour_tags import can_convert, taken_as_unknown
from builder.decode.formats import NOT_READ, ONLY_READ, PROTOCOL
from builder.decode.frame_times import spacing
from builder.decode.frames import WARNINGS, SourceFacts, reason_for_no_frames, scaled_size
from builder.decode.libav_log import LibavLog, add_line
from builder.decode.pyav_cropping import Cropping
from builder.decode.pyav_orientation import Orientation
from builder.decode.shots import cuts_in, difference
from builder.video_limits import MEMORY_SAID, PIXELS_SAID, Limits

# FULL_CHR_H_INT: frames with another colour matrix are converted via RGB, in full resolution.
_SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)
# A file must not make libav open other files, as playlists and several other formats would.
_ONLY = {"format_whitelist": ONLY_READ, "protocol_whitelist": PROTOCOL}
_UNKNOWN = 2  # ITU-T H.273's number for an unspecified matrix or transfer function


@dataclass
class Work:
    """The state of decoding one video.

    Attributes:
        frames: JPEGs
        size: width and height of the frames in pixels
        complaints: warnings and errors besides those that libav logs
        marks: keys of WARNINGS and REASONS
        too_large: the limit that the video exceeds, in words
        facts: about the source file
        stamps: timestamps of the frames in seconds
        tag: a colour tag that is ignored
        differences: of every frame from the one before, if shots are to be detected
    """

    frames: list[bytes] = field(default_factory=list)
    size: tuple[int, int] | None = None
    complaints: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)
    too_large: str = ""
    facts: SourceFacts = field(default_factory=SourceFacts)
    stamps: list[float | None] = field(default_factory=list)
    tag: str = ""
    differences: list[float] = field(default_factory=list)

    def complain(self, words: str) -> None:
        add_line(self.complaints, words)


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", 1 << 20)  # many frames at once
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no other code writes there
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # else repeats are logged with the next video
    at_start = _memory("VmData")  # RLIMIT_DATA limits this
    for line in sys.stdin.buffer:
        question = json.loads(line)
        limits = Limits(**question.pop("limits"))
        # Finished frames do not count, as with ffmpeg, where they are in our process.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = at_start + limits.memory + limits.stored
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        try:
            answer, frames = answer_to(question, limits)
            size = sum(map(len, frames))
            text = json.dumps(answer | {"bytes": size, "exhausted": False})
        except MemoryError:
            failure = {"reason": "too large", "detail": limits.too_much_memory}
            frames = []
            text = json.dumps({"facts": {}, "bytes": 0, "exhausted": True} | failure)
        answers.write(text.encode("ascii") + b"\n")
        answers.writelines(frames)
        answers.flush()


def _memory(name: str) -> int:
    """Memory of this process in bytes, by a field of /proc/self/status."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def answer_to(question: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], list[bytes]]:
    """Decode a video: the answer for builder.decode.pyav, and the frames. A bad video's answer has
    a reason, and no frames.

    Raises MemoryError if the video needs more memory than `limits` allow.
    """
    work = Work()
    with LibavLog() as said:
        try:
            work = _decode(question, limits)
        except av.FFmpegError as error:
            work.complain(_words(error))
        except ValueError as error:  # PyAV raises it for names and tags of streams
            work.complain(f"{type(error).__name__}: {error}")
            work.marks.add("decoder failed")
    lines, log = (
        [text for text in [*part, *work.complaints] if "deprecated pixel format" not in text]
        for part in (said.lines, said.errors)  # that message refers to our output
    )
    if any(MEMORY_SAID in text for text in log) and limits.ran_out(_memory("VmHWM")):
        raise MemoryError  # short of memory, frames are chance
    detail = log[0][:200] if log else ""
    facts = asdict(work.facts) | {"last_line": lines[-1][:200] if lines else ""}
    answer: dict[str, Any] = {"facts": facts, "detail": detail or work.tag}
    if work.too_large:
        return answer | {"reason": "too large", "detail": work.too_large}, []
    if "decoder failed" in work.marks:
        return answer | {"reason": "decoder failed"}, []
    if work.size is None or not work.frames:
        return answer | _why_none(lines, limits, has_video=bool(work.facts.video_streams)), []
    spaced = spacing(work.stamps, work.facts.fps)
    seen = {"damaged": bool(log), "colour tag": bool(work.tag), "time jumps": spaced.jumps}
    marks = work.marks | {mark for mark, is_so in seen.items() if is_so}
    answer |= {
        "offsets": np.cumsum([0, *map(len, work.frames)]).tolist(),
        "width": work.size[0],
        "height": work.size[1],
        "warnings": [word for word in WARNINGS if word in marks],
        "fps": spaced.fps,
        "times": spaced.times,
        "cuts": cuts_in(work.differences) if question["shots"] else None,
    }
    return answer, work.frames


def _why_none(lines: list[str], limits: Limits, *, has_video: bool) -> dict[str, str]:
    """The reason for a video without frames, and its detail if that is not the first error."""
    if any(text.startswith(NOT_READ) for text in lines):
        return {"reason": "not a video", "detail": NOT_READ}
    for text in lines:
        if large := re.search(PIXELS_SAID, text):
            return {"reason": "too large", "detail": limits.too_many_pixels(large[1])}
    return {"reason": reason_for_no_frames(lines, has_video=has_video)}


def _decode(question: dict[str, Any], limits: Limits) -> Work:
    """Decode the video stream that a player would play: the preferred one with several frames."""
    tried: list[Work] = []
    while not tried or len(tried) < (tried[-1].facts.video_streams or 0):
        name = f"file:{question['path']}"
        options = _ONLY | {"max_pixels": str(limits.pixels)}
        with av.open(name, metadata_errors="ignore", options=options) as container:
            covers = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & covers]
            if not streams:
                return Work(complaints=["Stream map matches no streams"])
            best = sorted(streams, key=lambda s: _worth(s, streams), reverse=True)[len(tried)]
            tried.append(_decode_stream(container, best, question, limits))
            tried[-1].facts = replace(tried[-1].facts, video_streams=len(streams))
        last = tried[-1]
        if len(last.frames) > 1 or last.too_large or last.marks & {"cut", "decoder failed"}:
            return last
    return max(tried, key=lambda work: len(work.frames))


def _worth(stream: av.VideoStream, streams: Sequence[av.VideoStream]) -> tuple[bool, int]:
    """Sort key by which ffmpeg prefers a stream: it has frames, it is the default, its picture is
    larger."""
    context = stream.codec_context
    has_frames = stream.frames > 0 or not any(other.frames for other in streams)
    default = bool(stream.disposition & av.stream.Disposition.default)
    size = context.width * context.height if context is not None else 0
    return has_frames, size + 5_000_000 * default


def _decode_stream(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    question: dict[str, Any],
    limits: Limits,
) -> Work:
    work = Work(facts=_facts(container, stream))
    if stream.codec_context is None:
        work.complain("no decoder found for the video stream")
        return work
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    try:
        _take_frames(work, container, stream, question, limits)
    except av.FFmpegError as error:
        work.complain(_words(error))
    except MemoryError:
        raise
    except Exception as error:  # PyAV may raise anything for damaged files
        work.complain(f"{type(error).__name__}: {error}")
        work.marks.add("decoder failed")
    del work.stamps[len(work.frames) :]
    return work


def _take_frames(
    work: Work,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    question: dict[str, Any],
    limits: Limits,
) -> None:
    scaler, source, total, luma = VideoReformatter(), None, 0, None
    crop, clock = Cropping(container, stream), Clock(container.format.name)
    for decoded in _frames(container, stream, work.complain):
        if len(work.frames) == question["max_frames"]:
            work.marks.add("cut")
            return
        if len(work.frames) == limits.frames:
            work.too_large = limits.too_many_frames
            return
        if decoded.is_corrupt:
            work.marks.add("damaged")
        work.stamps.append(clock.stamp(decoded))
        frame = crop.cut(decoded)
        if work.size is None:
            orientation = Orientation.of(decoded)
            work.facts = replace(work.facts, rotation=orientation.rotation)
            if orientation.rotation and orientation.rotation % 90:
                work.complain(f"turned by {orientation.rotation:g}: needs --engine ffmpeg")
                work.marks.add("decoder failed")
                return
            work.size = scaled_size(*orientation.shown_size(frame, stream), question["short_side"])
        width, height = work.size
        if source not in (None, (frame.width, frame.height)):
            work.marks.add("size changed")
        source = (frame.width, frame.height)
        colours = int(decoded.colorspace), int(decoded.color_trc), frame.format.name
        work.tag = work.tag or taken_as_unknown(*colours)
        if not can_convert(colours[0], colours[2]):
            frame.colorspace = _UNKNOWN
        picture = scaler.reformat(
            frame,
            *((height, width) if orientation.is_sideways else (width, height)),
            f"yuvj{question['chroma']}p",
            dst_colorspace=Colorspace.ITU601,
            interpolation=_SCALING,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        planes = [orientation.upright(plane) for plane in picture.planes]
        if question["shots"]:
            work.differences.append(difference(luma, planes[0]))
            luma = planes[0]
        work.frames.append(simplejpeg.encode_jpeg_yuv_planes(*planes, question["quality"]))
        total += len(work.frames[-1])
        if total > limits.stored:
            work.too_large = limits.too_many_bytes
            return


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, complain: Callable[[str], None]
) -> Iterator[av.VideoFrame]:
    """Yield every frame that can be decoded. As with ffmpeg, packets that cannot be decoded are
    skipped, and a truncated file ends at its last packet."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            complain(_words(error))
            packet = None
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if not isinstance(error, av.EOFError):
                complain(_words(error))
        if packet is None:
            return


class Clock:
    """Timestamps of frames. A file may state presentation times (PTS), or only decoding times of
    packets (DTS): the more reliable is taken, as in libav's `best_effort_timestamp`. AVI has only
    DTS, and the PTS that libav derives for its B-frames are out of order."""

    def __init__(self, container: str) -> None:
        self._packets_only = container == "avi"
        self._last: dict[str, int | None] = {"pts": None, "dts": None}
        self._faults = {"pts": 0, "dts": 0}

    def stamp(self, frame: av.VideoFrame) -> float | None:
        """Seconds; None if the file does not say. Call it once for every frame, in order."""
        stamps = {"pts": None if self._packets_only else frame.pts, "dts": frame.dts}
        for name, other in (("pts", "dts"), ("dts", "pts")):
            now, last = stamps[name], self._last[name]
            if now is not None and last is not None:
                self._faults[name] += now <= last
            self._last[name] = stamps[other] if now is None else now
        best = stamps["pts"]
        if best is None or self._faults["pts"] > self._faults["dts"]:
            best = best if stamps["dts"] is None else stamps["dts"]
        return None if best is None else float(best * frame.time_base)


def _words(error: av.FFmpegError) -> str:
    """The error message without the path, which differs between machines."""
    return error.strerror or type(error).__name__


def _facts(container: av.container.InputContainer, stream: av.VideoStream) -> SourceFacts:
    def rate(value: Any) -> float | None:
        return (round(float(value), 2) or None) if value else None

    return SourceFacts(
        fps=rate(stream.average_rate),
        nominal_fps=rate(stream.base_rate),
        stream=stream.index,
        duration=round(container.duration / av.time_base, 3) if container.duration else None,
    )


if __name__ == "__main__":
    main()
