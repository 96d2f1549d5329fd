"""Decode files in tests, and make such files."""

import subprocess
from pathlib import Path

import numpy as np
import simplejpeg

from builder.decode.engine import transcode
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import REASONS, Failure, Frames, FrameSettings
from builder.decode.processes import Children
from builder.video_limits import Limits

LIMITS = Limits()
# Starting a PyAV worker takes longer than decoding a test's video, so all tests share one, as a
# build does. It ends with this process.
_CHILDREN = Children()


def decoded(path: Path, settings: FrameSettings, limits: Limits = LIMITS) -> Frames | Failure:
    return transcode(path, settings, limits, _CHILDREN)


def built(path: Path, settings: FrameSettings) -> Frames:
    result = decoded(path, settings)
    assert isinstance(result, Frames), result
    return result


def failed(path: Path, settings: FrameSettings, limits: Limits = LIMITS) -> Failure:
    result = decoded(path, settings, limits)
    assert isinstance(result, Failure), result
    assert result.reason in REASONS
    return result


def count(frames: Frames) -> int:
    return len(frames.offsets) - 1


def picture(frames: Frames, i: int) -> np.ndarray:
    """Frame `i`, decoded: uint8, height x width x 3."""
    return simplejpeg.decode_jpeg(bytes(frames.blob[frames.offsets[i] : frames.offsets[i + 1]]))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def ffmpeg(*words: object, given: bytes = b"") -> bytes:
    """Run ffmpeg with `given` on stdin; return its stdout."""
    command = [find_ffmpeg(), "-v", "error", "-y", *map(str, words)]
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout


def joined(path: Path, *parts: Path) -> Path:
    """Concatenate files byte for byte."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
