"""Limits on what one video may cost: a few bytes can demand gigabytes, hours or an endless log."""

from dataclasses import dataclass

GB = 10**9  # bytes
LOG_BYTES = 1 << 20  # of the decoder's log, this much of the beginning and of the end is kept
MOST_PIXELS = 1 << 26  # of a stored frame: 8192 x 8192


@dataclass(frozen=True)
class Limits:
    """Limits of one video. They decide whether it is built, but do not change its bytes.

    Attributes:
        seconds: that decoding may take
        pixels: of a decoded frame: 8192 x 8192; 8K has half as many
        memory: bytes that the decoder may take; 8K takes 1 GB
        frames: number of decoded frames: 37 hours at 30 fps
        aspect: of frames, long side divided by short side; 32:9 screens have 3.6
        stored: bytes of all frames: they are held in memory, and tar limits the size of a member
    """

    seconds: float = 600.0
    pixels: int = 1 << 26
    memory: int = 4 * GB
    frames: int = 4_000_000
    aspect: float = 8.0
    stored: int = 2 * GB

    @property
    def too_much_memory(self) -> str:
        return f"its decoder needs more than {self.memory / GB:g} GB of memory (--max-memory)"

    @property
    def too_many_frames(self) -> str:
        return f"it has more than {self.frames} frames; --max-frames keeps the first of them"

    @property
    def too_many_bytes(self) -> str:
        return (
            f"its frames come to more than {self.stored / GB:g} GB; --max-frames, --fps or "
            "--short-side helps"
        )

    def too_elongated(self, width: int, height: int) -> str:
        """What is wrong with frames of `width` x `height` pixels; "" if nothing is."""
        if max(width, height) <= self.aspect * min(width, height):
            return ""
        return (
            f"its frames are {width} x {height} pixels, one side more than {self.aspect:g} times "
            "the other (--max-aspect)"
        )

    def too_large_to_store(self, width: int, height: int) -> str:
        """What is wrong with stored frames of `width` x `height` pixels; "" if nothing is."""
        if width * height <= MOST_PIXELS:
            return ""
        return (
            f"its frames would be stored with {width} x {height} pixels, and {MOST_PIXELS} are "
            "allowed; a lower --short-side helps"
        )

    def too_many_pixels(self, size: str) -> str:
        """`size` is such as "16000x16000"; some decoders include a margin."""
        return f"a frame takes {size} pixels, and {self.pixels} are allowed (--max-pixels)"

    def ran_out(self, peak: int) -> bool:
        """Whether a failed allocation is due to these limits, if the decoder's peak memory was
        `peak` bytes. (libav itself refuses damaged files that demand 2 GB at once.)"""
        return peak > self.memory / 4


# libav's messages about two of the limits.
PIXELS_SAID = r"Picture size (\d+x\d+) exceeds specified max pixel count"
MEMORY_SAID = "Cannot allocate memory"
