"""Decode in long-lived worker processes by PyAV and simplejpeg: faster, but with larger files.

A worker (`builder.decode.pyav_worker`) decodes one video after the other, which saves the start of
ffmpeg and its pipes. libav still runs in a separate process: if it crashes or hangs on a damaged
file, only that worker is lost, and the video is recorded as a failure, as with ffmpeg.
"""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from builder.command_line import quoted
from builder.decode.frames import Failure, Frames, FrameSettings, SourceFacts, crash
from builder.decode.processes import Children, time_limit
from builder.errors import BuilderError, BuilderUsageError
from builder.video_limits import Limits

# Code that starts a worker. It imports the same `builder` that runs here; all other modules are
# found as usual. With -P the working directory, which may hold other people's files, is not in
# sys.path. Before it imports the decoder, which takes a while, the worker arranges to end with us.
_HOME = Path(__file__).resolve().parents[2]
_START = """
import sys
sys.path.insert(0, sys.argv[1])
import builder
sys.path.append(sys.path.pop(0))
from builder.decode.processes import end_with_parent
end_with_parent(int(sys.argv[2]))
from builder.decode.pyav_worker import main
main()
"""

# libjpeg's quality at the same PSNR as ffmpeg's -q:v (measured on ten clips of UCF-101, HMDB-51
# and Kinetics-400 at short side 128; libjpeg needs 15-30 % more bytes for it).
LIBJPEG_QUALITY = {2: 93, 3: 88, 4: 83, 5: 78, 6: 72, 7: 65, 8: 58, 9: 51, 10: 45}


def version() -> str:
    """Versions of decoder and encoder, such as "pyav 18.1.0, simplejpeg 1.9.0". (PyAV's wheels
    contain their own libav.)"""
    _must_be_installed()
    return f"pyav {version_of('av')}, simplejpeg {version_of('simplejpeg')}"


def _must_be_installed() -> None:
    if find_spec("av") is None:
        raise BuilderError(
            "The engine pyav needs PyAV, which is not installed: pip install 'ascnet[pyav]', or "
            "leave --engine away."
        )


def must_be_able(settings: FrameSettings) -> None:
    """Raise BuilderError if PyAV is not installed, or for settings that only ffmpeg supports."""
    _must_be_installed()
    if settings.fps is not None:
        raise BuilderUsageError(
            f"--fps {settings.fps:g} needs ffmpeg's resampling: leave --engine pyav away."
        )


def decode(
    path: Path, settings: FrameSettings, limits: Limits, children: Children
) -> Frames | Failure:
    """Decode the frames of a video file. Raises BuilderError if the worker is killed from
    outside."""
    command = [sys.executable, "-P", "-c", _START, str(_HOME), str(os.getpid())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        children.borrow(command, **pipes) as worker,
        time_limit(worker, limits.seconds) as expired,
    ):
        answer, blob = _ask(worker, path, settings, limits)
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(10)  # it ends by itself; its exit status says why
            status = children.end(worker)
        elif answer["exhausted"]:
            children.end(worker)  # after running out of memory, its state is unknown
    if answer is None:
        if expired.is_set():
            return Failure("timeout", f"stopped after {limits.seconds:g} s")
        if status >= 0:
            raise BuilderError(
                f"The PyAV worker ended by itself (status {status}). See what `"
                f"{quoted(sys.executable)} -P -m builder.decode.pyav_worker` says, or leave "
                "--engine pyav away."
            )
        return crash("PyAV", -status)
    facts = SourceFacts(**answer["facts"])
    if reason := answer.get("reason"):
        return Failure(reason, answer["detail"], facts)
    return Frames(
        blob=blob,
        offsets=tuple(answer["offsets"]),
        sha256=hashlib.sha256(blob).hexdigest(),
        width=answer["width"],
        height=answer["height"],
        warnings=tuple(answer["warnings"]),
        fps=answer["fps"],
        times=None if answer["times"] is None else tuple(answer["times"]),
        cuts=None if answer["cuts"] is None else tuple(answer["cuts"]),
        facts=facts,
        detail=answer["detail"],
    )


def _ask(
    worker: subprocess.Popen[bytes], path: Path, settings: FrameSettings, limits: Limits
) -> tuple[dict[str, Any] | None, bytes]:
    """Send a video to the worker; return its answer and the frames, or None if it died."""
    assert worker.stdin is not None and worker.stdout is not None
    question = {
        "path": str(path),
        "short_side": settings.short_side,
        "quality": LIBJPEG_QUALITY[settings.jpeg_quality],
        "chroma": settings.chroma,
        "max_frames": settings.max_frames,
        "shots": settings.shots,
        "limits": asdict(limits),
    }
    try:
        worker.stdin.write(json.dumps(question).encode("ascii") + b"\n")
        worker.stdin.flush()
    except BrokenPipeError:
        return None, b""
    line = worker.stdout.readline()
    if not line.endswith(b"\n"):
        return None, b""
    answer: dict[str, Any] = json.loads(line)
    blob = worker.stdout.read(answer["bytes"])
    return (answer, blob) if len(blob) == answer["bytes"] else (None, b"")
