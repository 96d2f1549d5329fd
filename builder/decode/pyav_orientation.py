"""Rotation and mirroring of the picture, which libav's decoders leave to the player."""

import math
import struct
from dataclasses import dataclass

import av
import numpy as np

_ONE = 65536


@dataclass(frozen=True)
class Orientation:
    """Display matrix: a pixel at (x, y) is shown at (ax + cy, bx + dy) / 65536."""

    a: int = _ONE
    b: int = 0
    c: int = 0
    d: int = _ONE

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """Read the display matrix of a frame; the identity if there is none or it is singular."""
        try:
            data = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # the frame has other side data that PyAV does not know, such as EXIF
            turn = math.radians(frame.rotation)  # anticlockwise
            x, y = (round(_ONE * f(turn)) for f in (math.cos, math.sin))
            return cls(x, -y, y, x)
        if data is None:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data))
        return cls(a, b, c, d) if a * d != b * c else cls()

    @property
    def rotation(self) -> float | None:
        """Degrees clockwise; None if the picture is not rotated."""
        return math.degrees(math.atan2(self.b, self.a)) % 360 or None

    @property
    def is_sideways(self) -> bool:
        return abs(self.b) > abs(self.a)

    def shown_size(self, frame: av.VideoFrame, stream: av.VideoStream) -> tuple[float, float]:
        """Width and height in pixels as a player shows a frame: rotated, with square pixels."""
        width = frame.width * float(stream.sample_aspect_ratio or 1)
        return (frame.height, width) if self.is_sideways else (width, frame.height)

    def upright(self, plane: av.video.plane.VideoPlane) -> np.ndarray:
        """The plane as uint8 (height, width), rotated and mirrored, for angles that are multiples
        of 90 degrees."""
        rows: np.ndarray = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        pixels = rows[:, : plane.width]
        pixels = pixels.T if self.is_sideways else pixels
        x, y = (self.c, self.b) if self.is_sideways else (self.a, self.d)
        return np.ascontiguousarray(pixels[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])
