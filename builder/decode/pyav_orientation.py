"""How a player turns and mirrors the picture, which libav's decoders leave to it."""

import math
import struct
from dataclasses import dataclass

import av
import numpy as np

_ONE = 65536


@dataclass(frozen=True)
class Orientation:
    """A pixel at (x, y) goes to (ax + cy, bx + dy) / 65536."""

    a: int = _ONE
    b: int = 0
    c: int = 0
    d: int = _ONE

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """As the file says; upright where it does not, or says nonsense."""
        try:
            data = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # beside it is more, of a kind that PyAV has no name for, such as EXIF
            turn = math.radians(frame.rotation)  # against the clock
            x, y = (round(_ONE * f(turn)) for f in (math.cos, math.sin))
            return cls(x, -y, y, x)
        if data is None:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data))
        return cls(a, b, c, d) if a * d != b * c else cls()

    @property
    def rotation(self) -> float | None:
        """Degrees clockwise; None: none."""
        return math.degrees(math.atan2(self.b, self.a)) % 360 or None

    @property
    def is_sideways(self) -> bool:
        return abs(self.b) > abs(self.a)

    def shown_size(self, frame: av.VideoFrame, stream: av.VideoStream) -> tuple[float, float]:
        """Width and height (pixels) as a player shows a frame: square pixels, upright."""
        width = frame.width * float(stream.sample_aspect_ratio or 1)
        return (frame.height, width) if self.is_sideways else (width, frame.height)

    def upright(self, plane: av.video.plane.VideoPlane) -> np.ndarray:
        """The plane (uint8), turned and mirrored, where the angle is a multiple of 90 degrees."""
        rows: np.ndarray = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        pixels = rows[:, : plane.width]
        pixels = pixels.T if self.is_sideways else pixels
        x, y = (self.c, self.b) if self.is_sideways else (self.a, self.d)
        return np.ascontiguousarray(pixels[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])
