"""One video file to JPEG frames and facts, by the engine that the settings name."""

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
    """Name, version and processor architecture of what decodes and encodes; another one makes
    other bytes."""
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
    """The frames of a video, short side scaled to `settings.short_side`, aspect kept, rotation
    metadata honoured, pixels square; all of them at the native rate unless the settings choose.

    Never raises for a bad video: what is wrong comes back as a Failure. Raises BuilderError if the
    decoder is stopped from outside.
    """
    if children is None:
        with Children() as own:
            return transcode(path, settings, limits, own)
    for _ in range(2):  # a file that is being written may be whole a moment later
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
        with suppress(OSError):  # the file has just vanished: its state will tell
            result = without_reading(result, path)
    facts = replace(
        result.facts, source_bytes=known.source_bytes, source_sha256=known.source_sha256
    )
    if isinstance(result, Frames) and len(result.offsets) - 1 < settings.min_frames:
        return Failure("too short", f"{len(result.offsets) - 1} frames", facts)
    if isinstance(result, Frames) and (why := limits.too_elongated(result.width, result.height)):
        return Failure("too elongated", why, facts)
    return replace(result, facts=facts)


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when somebody writes to a file, or puts another in its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _look_at(path: Path, limits: Limits, children: Children) -> SourceFacts | Failure:
    """Size and hash of a file, or what keeps it from being decoded."""
    size = None
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            return Failure("unreadable", "it is no regular file", SourceFacts(size))
        if not size:  # not even opened: some of what the system makes up is waited for for ever
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
    """A file of holes has as many bytes as it likes to say, and takes hours to read."""


def _hash(path: Path, seconds: float, children: Children) -> tuple[int, str]:
    """Size (bytes) and SHA-256 of a file. Also brings it into memory, so that the decoder, which
    reads it next, does not wait for the disk; other workers decode meanwhile. Raises _TooLongError
    when `seconds` have passed, and BuilderError when the build is stopped."""
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
    """Raises BuilderError if the engine is not installed, or cannot do what the settings ask."""
    if settings.engine == "pyav":
        pyav_engine.must_be_able(settings)
    elif settings.engine not in ENGINES:
        raise BuilderError(f"The engine is {settings.engine!r}; allowed are {', '.join(ENGINES)}.")
