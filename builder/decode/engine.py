"""Transcode one video file to JPEG frames and metadata, by the engine that the settings name."""

import hashlib
import platform
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from builder.decode import ffmpeg as ffmpeg_engine
from builder.decode import pyav as pyav_engine
from builder.decode.formats import without_reading
from builder.decode.frames import Failure, Frames, FrameSettings, SourceFacts
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.video_limits import Limits

Engine = Callable[[Path, FrameSettings, Limits, Children], Frames | Failure]
ENGINES: dict[str, Engine] = {"ffmpeg": ffmpeg_engine.decode, "pyav": pyav_engine.decode}
_DEFAULT = Limits()


def engine_version(engine: str) -> str:
    """Name, version and processor architecture of the decoder and encoder, which all affect the
    bytes of the frames."""
    version = (
        pyav_engine.version() if engine == "pyav" else f"ffmpeg {ffmpeg_engine.ffmpeg_version()}"
    )
    return f"{version}, {platform.machine()}"


def transcode(
    path: Path,
    settings: FrameSettings,
    limits: Limits = _DEFAULT,
    children: Children | None = None,
) -> Frames | Failure:
    """Decode a video and encode its frames as JPEGs.

    The short side is scaled to `settings.short_side`, the aspect ratio is kept, rotation metadata
    are honoured, and pixels are square. All frames are kept at the native rate, unless the settings
    say otherwise. Returns a Failure for a bad video. Raises BuilderError if the decoder is killed
    from outside.
    """
    if children is None:
        with Children() as own:
            return transcode(path, settings, limits, own)
    for _ in range(2):  # a file that is being written may be complete a moment later
        before = _state(path)
        result = _transcode_once(path, settings, limits, children)
        if _state(path) == before:
            return result
    return Failure("changed", f"{result.facts.source_bytes} bytes, then others", result.facts)


def _transcode_once(
    path: Path, settings: FrameSettings, limits: Limits, children: Children
) -> Frames | Failure:
    known = _look_at(path, limits, children)
    if isinstance(known, Failure):
        return known
    result = ENGINES[settings.engine](path, settings, limits, children)
    if isinstance(result, Failure) and result.reason == "not a video":
        with suppress(OSError):  # the file has just vanished: transcode() compares its state
            result = without_reading(result, path)
    facts = replace(
        result.facts, source_bytes=known.source_bytes, source_sha256=known.source_sha256
    )
    if isinstance(result, Frames) and len(result.offsets) - 1 < settings.min_frames:
        return Failure("too short", f"{len(result.offsets) - 1} frames", facts)
    if isinstance(result, Frames) and (why := limits.too_elongated(result.width, result.height)):
        return Failure("too elongated", why, facts)
    if isinstance(result, Frames) and (
        why := limits.too_large_to_store(result.width, result.height)
    ):
        return Failure("too large", why, facts)
    return replace(result, facts=facts)


def _state(path: Path) -> tuple[int, ...] | None:
    """Device, inode, size and modification time: they change if the file is written or replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _look_at(path: Path, limits: Limits, children: Children) -> SourceFacts | Failure:
    """Size and hash of a file, or the Failure that keeps it from being decoded."""
    size = None
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return Failure("unreadable", "it is no regular file", SourceFacts(size))
        if not size:  # not opened: reading some files in /proc and /sys blocks for ever
            return Failure("empty file", "0 bytes", SourceFacts(0, hashlib.sha256().hexdigest()))
        size, digest = _hash(path, limits.seconds, children)
    except _TooLongError:
        detail = f"reading its {size} bytes was stopped after {limits.seconds:g} s"
        return Failure("timeout", detail, SourceFacts(size))
    except FileNotFoundError:
        return Failure("missing", "no such file")
    except OSError as error:
        return Failure("unreadable", error.strerror or str(error), SourceFacts(size))
    facts = SourceFacts(size, digest)
    return facts if size else Failure("empty file", "0 bytes", facts)


class _TooLongError(Exception):
    """Reading took too long: a sparse file can state any size, and take hours to read."""


def _hash(path: Path, seconds: float, children: Children) -> tuple[int, str]:
    """Size (bytes) and SHA-256 of a file. Also brings the file into the page cache, so that the
    decoder does not wait for the disk; other workers decode meanwhile. Raises _TooLongError after
    `seconds`, and BuilderError when the build is stopped."""
    digest, size = hashlib.sha256(), 0
    end = time.monotonic() + seconds
    with path.open("rb", buffering=0) as file:
        while block := file.read(1 << 20):
            children.must_go_on()
            if time.monotonic() > end:
                raise _TooLongError
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def must_have_engine(settings: FrameSettings) -> None:
    """Raise BuilderError if the engine is not installed, or does not support the settings."""
    if settings.engine == "pyav":
        pyav_engine.must_be_able(settings)
    elif settings.engine not in ENGINES:
        raise BuilderError(f"The engine is {settings.engine!r}; allowed are {', '.join(ENGINES)}.")
