"""The picture size of a video file, by decoding only its first frame."""

import os
import subprocess
from pathlib import Path

from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.ffmpeg_log import COLOURED, UNWANTED, FfmpegLog
from builder.decode.formats import ONLY_READ, PROTOCOL
from builder.decode.processes import Children, ending_with_parent, limit_memory, time_limit
from builder.video_limits import LOG_BYTES, Limits

_SECONDS = 20.0


def picture_size(path: Path, children: Children) -> tuple[int, int] | None:
    """Width and height in pixels of a video's first frame, after rotation; None if no frame can be
    decoded within 20 s."""
    limits = Limits(seconds=_SECONDS)
    command = [*ending_with_parent(), find_ffmpeg(), "-hide_banner", "-nostdin", "-nostats"]
    command += ["-loglevel", "level+verbose", "-threads", "1", "-max_pixels", str(limits.pixels)]
    command += ["-format_whitelist", ONLY_READ, "-protocol_whitelist", PROTOCOL]
    command += ["-i", f"file:{path}", "-an", "-sn", "-dn", "-frames:v", "1", "-f", "null", "-"]
    with (
        children.start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k not in UNWANTED} | COLOURED,
        ) as process,
        time_limit(process, limits.seconds),
    ):
        limit_memory(process, limits.memory)
        assert process.stderr is not None
        log = FfmpegLog(process.stderr.read(LOG_BYTES), path)
    if not log.pictures:
        return None
    picture = log.pictures[0]
    turns = [s.rotation for s in log.streams if s.index == picture.stream and s.rotation]
    width, height = picture.size
    return (height, width) if turns and round(turns[0] / 90) % 2 else (width, height)
