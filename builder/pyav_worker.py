"""A process that decodes one video after the other: `python -m builder.pyav_worker`.

A line of JSON comes in for every video; a line of JSON goes out, followed by the frames. Started
and watched by builder.pyav_engine.
"""

import json
import math
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import av
import numpy as np
import simplejpeg
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from builder.children import end_with_parent
from builder.frames import WARNINGS, Facts, reason_for_no_frames, scaled_size

_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass
class Work:
    """What has come of a video so far."""

    frames: list[bytes] = field(default_factory=list)
    size: tuple[int, int] | None = None  # of the frames, pixels
    complaints: list[str] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)  # a warning, or a reason to give it up
    facts: Facts = field(default_factory=Facts)
    found_stream: bool = False


def main() -> None:
    end_with_parent()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody else writes there
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # it would tell of one video with the next
    for line in sys.stdin.buffer:
        question = json.loads(line)
        answer, blob = answer_to(question)
        answers.write(json.dumps(answer | {"bytes": len(blob)}).encode("ascii") + b"\n")
        answers.write(blob)
        answers.flush()


def answer_to(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The frames of a video, or the reason why there are none; never raises for a bad video."""
    work = Work()
    with av.logging.Capture() as said:
        try:
            _decode(work, question)
        except av.FFmpegError as error:
            work.complaints.append(_words(error))
        except MemoryError:
            raise  # no fault of the video
        except Exception as error:  # whatever else PyAV makes of damaged files
            work.complaints.append(f"{type(error).__name__}: {error}")
            work.marks.add("decoder failed")
    lines = [(level, text.strip()) for level, _, text in said] + [(0, c) for c in work.complaints]
    lines = [line for line in lines if "deprecated pixel format" not in line[1]]  # it means ours
    log = [text for level, text in lines if level <= av.logging.ERROR]
    detail = log[0][:200] if log else ""
    facts = asdict(work.facts) | {"last_line": lines[-1][1][:200] if lines else ""}
    answer: dict[str, Any] = {"facts": facts, "detail": detail}
    for reason in ("too large", "decoder failed"):
        if reason in work.marks:
            return answer | {"reason": reason}, b""
    if work.size is None:
        text = "\n".join(text for _, text in lines) + (
            "\nStream mapping:" if work.found_stream else ""
        )
        return answer | {"reason": reason_for_no_frames(text)}, b""
    offsets = np.cumsum([0, *map(len, work.frames)]).tolist()
    marks = work.marks | ({"damaged"} if log else set())
    warnings = [word for word in WARNINGS if word in marks]
    width, height = work.size
    answer |= {"offsets": offsets, "width": width, "height": height, "warnings": warnings}
    return answer, b"".join(work.frames)


def _decode(work: Work, question: dict[str, Any]) -> None:
    with av.open(f"file:{question['path']}", metadata_errors="ignore") as container:
        covers = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & covers]
        if not streams:
            work.complaints.append("Stream map matches no streams")
            return
        stream, work.found_stream = streams[0], True
        if stream.codec_context is None:
            work.complaints.append("no decoder found for the video stream")
            return
        stream.codec_context.thread_count = 1
        work.facts = _facts(container, stream)
        side = question["short_side"]
        scaler, total, source = VideoReformatter(), 0, None
        for frame in _frames(container, stream, work.complaints):
            if len(work.frames) == question["max_frames"]:
                work.marks.add("cut")
                return
            if frame.is_corrupt:
                work.marks.add("damaged")
            if work.size is None:
                matrix = _matrix(frame)
                sideways = matrix is not None and abs(matrix[1]) > abs(matrix[0])
                if matrix is not None:
                    rotation = math.degrees(math.atan2(matrix[1], matrix[0])) % 360 or None
                    work.facts = replace(work.facts, rotation=rotation)
                    if rotation and rotation % 90:
                        work.complaints.append(f"turned by {rotation:g}: needs --engine ffmpeg")
                        work.marks.add("decoder failed")
                        return
                work.size = scaled_size(*_shown_size(frame, stream, sideways), side)
            width, height = work.size
            if source not in (None, (frame.width, frame.height)):
                work.marks.add("size changed")
            source = (frame.width, frame.height)
            picture = scaler.reformat(
                frame,
                *((height, width) if sideways else (width, height)),
                f"yuvj{question['chroma']}p",
                interpolation=_SCALING,
                dst_color_range=ColorRange.JPEG,
                threads=1,
            )
            planes = [_upright(_plane(p), matrix) for p in picture.planes]
            work.frames.append(simplejpeg.encode_jpeg_yuv_planes(*planes, question["quality"]))
            total += len(work.frames[-1])
            if total > question["max_bytes"]:
                work.marks.add("too large")
                return


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, complaints: list[str]
) -> Iterator[av.VideoFrame]:
    """Every frame that can be decoded. As with ffmpeg, a packet that cannot is passed over, and a
    file that breaks off ends there."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            complaints.append(_words(error))
            packet = None
        try:
            yield from stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            if not isinstance(error, av.EOFError):
                complaints.append(_words(error))
        if packet is None:
            return


def _words(error: av.FFmpegError) -> str:
    """What was wrong, without the path, which is another one on every machine."""
    return error.strerror or type(error).__name__


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    rows: np.ndarray = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """How a player turns the picture: a pixel at (x, y) goes to (ax + cy, bx + dy), for the a, b,
    c, d returned (1 is 65536). None where the file does not say, or says nonsense."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data))
    return (a, b, c, d) if a * d != b * c else None


def _upright(plane: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """The plane, turned and mirrored by a matrix whose angle is a multiple of 90 degrees."""
    if matrix is not None:
        a, b, c, d = matrix
        sideways = abs(b) > abs(a)
        plane = plane.T if sideways else plane
        x, y = (c, b) if sideways else (a, d)
        plane = plane[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1]
    return np.ascontiguousarray(plane)


def _shown_size(
    frame: av.VideoFrame, stream: av.VideoStream, sideways: bool
) -> tuple[float, float]:
    """Width and height (pixels) as a player shows a frame: square pixels, upright."""
    width = frame.width * float(stream.sample_aspect_ratio or 1)
    return (frame.height, width) if sideways else (width, frame.height)


def _facts(container: av.container.InputContainer, stream: av.VideoStream) -> Facts:
    def rate(value: Any) -> float | None:
        return round(float(value), 2) if value else None

    return Facts(
        fps=rate(stream.average_rate),
        nominal_fps=rate(stream.base_rate),
        duration=round(container.duration / av.time_base, 3) if container.duration else None,
    )


if __name__ == "__main__":
    main()
