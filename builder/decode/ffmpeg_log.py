"""Parse ffmpeg's log such that text from the video file cannot pass for ffmpeg's messages.

ffmpeg logs titles, comments, chapters and names unchanged, so a file can forge lines. Two things it
cannot forge. Colours (AV_LOG_FORCE_COLOR): ffmpeg wraps every part of a message of any level but
info in an escape sequence, and removes escape characters from what it quotes. And the number of
lines in its description of the file: some occur exactly once, so where there are two, one is
forged, and the fact is treated as unknown.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# Environment variables that force colours, whatever the user's settings are.
COLOURED = {"AV_LOG_FORCE_COLOR": "1", "TERM": "xterm", "LC_ALL": "C"}
UNWANTED = ("AV_LOG_FORCE_NOCOLOR", "AV_LOG_FORCE_256COLOR", "NO_COLOR", "FFREPORT")

_COLOURED = re.compile(r"\x1b\[[\d;]*m([^\x1b]*)\x1b\[0m")
_LEVELS = ("[panic] ", "[fatal] ", "[error] ", "[warning] ", "[verbose] ")
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_INPUT = re.compile(r"\[graph -?\d+ input from stream 0:(\d+)\] ")
_PICTURE = re.compile(r"w:(\d+) h:(\d+) pixfmt:\S+ tb:\S+ fr:(\d+)/(\d+)")
_LISTED = re.compile(r"^\[info\]   Stream #0:(\d+)\b(?! ->)", re.M)
_STREAM = re.compile(
    r"^\[info\]   Stream #0:(\d+)\b(?! ->).*: (Video|Audio|Subtitle|Data|Attachment|Unknown)(.*)$",
    re.M,
)
_DURATION = re.compile(r"^\[info\]   Duration: (?:(\d+):(\d\d):([\d.]+)|N/A), ", re.M)
_ROTATION = re.compile(r"(?i)^\[info\]\s+display ?matrix: rotation of (-?[\d.]+) degrees", re.M)
_STOPPED = re.compile(r"^\[info\] Exiting normally, received signal (\d+)\.", re.M)
_PEAK = re.compile(r"^\[info\] bench: maxrss=(\d+)[Kk]i?B$", re.M)
_SIZE = re.compile(r", (\d+)x(\d+)")
_COLOURS = re.compile(r", (\w+)\(([^()]*)\)")


@dataclass(frozen=True)
class Message:
    """A line of the log whose level is not info.

    Attributes:
        source: the part of ffmpeg that logged it
        level: panic, fatal, error, warning or verbose
    """

    source: str
    level: str
    text: str


@dataclass(frozen=True)
class VideoStream:
    """A video stream as ffmpeg describes it.

    Attributes:
        line: codec, pixel format, size, rates
        rotation: degrees, anticlockwise
    """

    index: int
    line: str
    rotation: float | None

    @property
    def is_cover(self) -> bool:
        return "(attached pic)" in self.line

    @property
    def order(self) -> tuple[bool, int]:
        """Sort key by which a player prefers streams: the default one, then the larger picture."""
        size = _SIZE.search(self.line)
        return "(default)" in self.line, int(size[1]) * int(size[2]) if size else 0

    @property
    def colours(self) -> tuple[str, str, str]:
        """Colour matrix, transfer function and pixel format by ffmpeg's names; "unknown" if
        untagged, or if ffmpeg prints a single name for all tags."""
        for pixels, words in _COLOURS.findall(self.line):
            for word in words.split(", "):
                if word.count("/") == 2 and " " not in word:
                    matrix, _, transfer = word.split("/")
                    return matrix, transfer, pixels
        return "unknown", "unknown", "unknown"

    def rate(self, unit: str) -> float | None:
        """Frames per second: the average ("fps") or the nominal rate ("tbr"). None if it is not
        known, or is so low that it is shown as 0."""
        rates = re.findall(rf", ([\d.]+)(k?) {unit}\b", self.line)
        return (float(rates[-1][0]) * (1000 if rates[-1][1] else 1) or None) if rates else None


@dataclass(frozen=True)
class Picture:
    """A decoded picture at the input of ffmpeg's filters.

    Attributes:
        size: width and height, pixels
        rate: the stream's nominal frame rate
    """

    stream: int
    size: tuple[int, int]
    rate: float | None


class FfmpegLog:
    """The log of one ffmpeg process, written with COLOURED and -loglevel level+verbose."""

    def __init__(self, text: bytes, path: Path) -> None:
        """`path` is the decoded file, whose name is replaced in the log."""
        for name in (f"file:{path}", str(path)):
            quoted = bytes(ord("?") if c < 8 or 13 < c < 32 else c for c in os.fsencode(name))
            text = text.replace(quoted, b"the file")
        self._text = _ADDRESS.sub("", text.decode("utf-8", "replace"))
        # The description of the file precedes this line, and ffmpeg logs the line before it starts
        # any threads, so their timing does not matter.
        before, mark, after = self._info.rpartition("\n[info] Stream mapping:\n")
        self._input, self._end = (before, after) if mark else (after, after)
        self.opened = bool(mark)  # recognised as a container with a stream to decode

    @cached_property
    def _info(self) -> str:
        """Lines of level info, which have no colour."""
        return _COLOURED.sub("", self._text)

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """All coloured lines, in their order."""
        messages, source, level, text, end = [], "", "", "", 0
        for match in _COLOURED.finditer(self._text):
            if not level and "\n" in self._text[end : match.start()]:
                source = ""  # it belonged to a line of level info, whose text has no colour
            part, end = match[1], match.end()
            if level:
                text += part
            elif part in _LEVELS:
                level = part[1:-2]
            else:
                source += part
            if "\n" in part:
                messages.append(Message(source, level, text.strip().partition("\n")[0]))
                source = level = text = ""
        return tuple(message for message in messages if message.level)

    @cached_property
    def complaints(self) -> tuple[Message, ...]:
        """Warnings and errors, sorted by source: the parts of ffmpeg log concurrently, so only the
        order within a source is deterministic."""
        complaints = [m for m in self.messages if m.level != "verbose"]
        complaints = [
            m for m in complaints if "deprecated pixel format" not in m.text
        ]  # it refers to our output
        return tuple(sorted(complaints, key=lambda m: (m.source == "", m.source)))

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(m.text for m in self.complaints if m.level != "warning")

    def says(self, words: str) -> bool:
        """Whether a warning or an error contains `words`."""
        return any(words in m.text for m in self.complaints)

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Decoded pictures: the first, and one for each change of size, pixel format or colour."""
        pictures = []
        for message in self.messages:
            stream, seen = _INPUT.search(message.source), _PICTURE.match(message.text)
            if stream and seen:
                width, height, over, under = map(int, seen.groups())
                rate = round(over / under, 2) if over and under else None
                pictures.append(Picture(int(stream[1]), (width, height), rate))
        return tuple(pictures)

    @property
    def video_streams(self) -> tuple[int, ...]:
        """Indices of all video streams, cover pictures excepted."""
        taken = {picture.stream for picture in self.pictures}
        covers = {stream.index for stream in self.streams if stream.is_cover}
        return tuple(sorted((taken | {stream.index for stream in self.streams}) - covers))

    @cached_property
    def streams(self) -> tuple[VideoStream, ...]:
        """Video streams, including cover pictures, that are described exactly once. Empty if the
        words of such a description occur elsewhere, too: a language or a key that holds line ends
        may have split a stream's line."""
        lines = list(_STREAM.finditer(self._input))
        if self._input.count(": Video: ") != sum(match[2] == "Video" for match in lines):
            return ()
        listed = _LISTED.findall(self._input)
        ends = [*(match.start() for match in lines), len(self._input)][1:]
        return tuple(
            VideoStream(int(match[1]), match[3], _only_rotation(self._input[match.end() : end]))
            for match, end in zip(lines, ends, strict=True)
            if match[2] == "Video" and listed.count(match[1]) == 1
        )

    @property
    def duration(self) -> float | None:
        """Seconds, as stated by the container."""
        stated = _DURATION.findall(self._input)
        if len(stated) != 1 or not stated[0][0]:
            return None
        hours, minutes, seconds = stated[0]
        return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 3)

    @property
    def peak(self) -> int:
        """Peak memory of ffmpeg in bytes; 0 if the log does not state it."""
        peaks = _PEAK.findall(self._end)
        return int(peaks[-1]) * 1024 if peaks else 0

    @property
    def signal(self) -> int | None:
        """The signal that stopped ffmpeg, as it logs; it handles the signal and exits normally."""
        signals = _STOPPED.findall(self._end)
        return int(signals[-1]) if signals else None


def _only_rotation(text: str) -> float | None:
    rotations = _ROTATION.findall(text)
    return float(rotations[0]) if len(rotations) == 1 else None
