"""No video takes more pixels, memory, frames or words than it may, and each limit is named."""

import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.decode import ffmpeg as ffmpeg_engine
from builder.decode.engine import transcode
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import Failure, Frames, FrameSettings
from builder.decode.libav_log import add_line
from builder.decode.log_pipe import LogPipe
from builder.decode.processes import Children, limit_memory
from builder.shards.dataset import ShardDataset
from builder.shards.video_row import FAILED
from builder.video_limits import LOG_BYTES, Limits
from tests.commands import refused, run_ascnet

MB = 10**6


def gif(path: Path, width: int, height: int, frames: int) -> Path:
    """A picture of any size, of which every frame changes one pixel: 23 bytes a frame."""
    frame = b"\x21\xf9\x04\0\x05\0\0\0," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    head = b"GIF89a" + struct.pack("<2H3B", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + frames * frame + b";")
    return path


def failed(path: Path, settings: FrameSettings, limits: Limits) -> tuple[str, str]:
    result = transcode(path, settings, limits)
    assert isinstance(result, Failure), result
    return result.reason, result.detail


def test_a_few_bytes_ask_for_gigabytes(settings, tmp_path):
    path = gif(tmp_path / "a.gif", 16000, 16000, 2000)
    began = time.monotonic()
    assert failed(path, settings, Limits()) == (
        "too large",
        "a frame takes 16000x16000 pixels, and 67108864 are allowed (--max-pixels)",
    )
    assert time.monotonic() - began < 30  # it took the whole time limit


def test_as_many_pixels_as_are_allowed(settings, tmp_path, make_video):
    margin = (64, 32)  # that some decoders work with
    for path in (
        gif(tmp_path / "a.gif", 512, 256, 3),
        make_video(tmp_path / "a.mp4", frames=3, size="512x256", args="-c:v libx264"),
        make_video(tmp_path / "a.ts", frames=3, size="512x256", args="-c:v mpeg2video"),
    ):
        assert isinstance(
            transcode(path, settings, Limits(pixels=(512 + margin[0]) * (256 + margin[1]))), Frames
        )
        reason, detail = failed(path, settings, Limits(pixels=512 * 256 - 1))
        assert reason == "too large" and "131071 are allowed (--max-pixels)" in detail
    assert Limits().pixels > 7680 * 4320


def test_frames_that_are_all_width(settings, make_video, tmp_path):
    """Scaled to a short side they would be tens of thousands of pixels long."""
    wide = make_video(tmp_path / "wide.avi", frames=3, size="640x16")
    reason, detail = failed(wide, settings, Limits())
    assert reason == "too elongated" and "one side more than 8 times the other" in detail
    assert isinstance(transcode(wide, settings, Limits(aspect=40)), Frames)
    stretched = make_video(tmp_path / "sar.mp4", frames=3, args="-vf setsar=20/1 -c:v libx264")
    assert failed(stretched, settings, Limits())[0] == "too elongated"
    tall = make_video(tmp_path / "tall.avi", frames=3, size="64x512")
    assert isinstance(transcode(tall, settings, Limits()), Frames)


def test_a_decoder_takes_no_more_memory_than_it_may(settings, tmp_path, make_video):
    path = gif(tmp_path / "a.gif", 8000, 8000, 3)  # 256 MB a frame
    tight = Limits(memory=280 * MB, stored=10_000)
    assert failed(path, settings, tight) == ("too large", tight.too_much_memory)
    assert tight.too_much_memory == "its decoder needs more than 0.28 GB of memory (--max-memory)"
    small = make_video(tmp_path / "b.mp4", size="320x240", args="-c:v libx264")
    assert isinstance(transcode(small, settings, Limits(memory=250 * MB)), Frames)


def test_after_a_video_that_takes_all_memory_the_next_one_is_built(tmp_path, make_video):
    settings = FrameSettings(short_side=16, engine="pyav")
    large = gif(tmp_path / "a.gif", 8000, 8000, 3)
    small = make_video(tmp_path / "b.avi", frames=3)
    with Children() as children:
        for _ in range(2):
            result = transcode(large, settings, Limits(memory=280 * MB, stored=10_000), children)
            assert isinstance(result, Failure) and result.reason == "too large"
            assert isinstance(transcode(small, settings, Limits(), children), Frames)


def test_a_limit_of_memory_holds_for_what_is_asked_for_and_not_for_what_is_set_aside():
    program = """
import mmap, sys
sys.stdin.read(1)
mmap.mmap(-1, 1 << 33, mmap.MAP_PRIVATE, mmap.PROT_READ)  # 8 GB that nobody writes to
try:
    bytearray(300_000_000)
except MemoryError:
    print("no more")
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with Children() as children, children.start([sys.executable, "-c", program], **pipes) as one:
        limit_memory(one, 200 * MB)
        said, _ = one.communicate(b"x")
        assert said == b"no more\n"
        limit_memory(one, 200 * MB)  # of a process that has ended: nothing


def test_more_frames_than_are_allowed(settings, tmp_path, make_video):
    path = make_video(tmp_path / "a.avi", frames=20)
    assert isinstance(transcode(path, settings, Limits(frames=20)), Frames)
    assert failed(path, settings, Limits(frames=19)) == (
        "too large",
        "it has more than 19 frames; --max-frames keeps the first of them",
    )


def test_frames_count_as_they_are_decoded_whatever_rate_is_kept(tmp_path, make_video):
    path = make_video(tmp_path / "a.avi", frames=100)
    settings = FrameSettings(short_side=16, fps=1)
    assert failed(path, settings, Limits(frames=50))[0] == "too large"


def test_a_log_without_end_is_kept_in_part(tmp_path):
    """All of a short log; of a long one the beginning and the end, and never more."""
    for size in (0, 10, LOG_BYTES, LOG_BYTES + 1, 2 * LOG_BYTES + 5, 9 * LOG_BYTES):
        program = (
            "import os\n"
            f"text = b'%09d\\n' * ({size} // 10 + 1) % tuple(range({size} // 10 + 1))\n"
            f"text = text[:{size}]\n"
            "while text: text = text[os.write(1, text):]\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            log = LogPipe(process.stdout.fileno())
            while process.poll() is None:
                log.take()
                assert len(log._head) + len(log._tail) <= 2 * LOG_BYTES
            text = log.take_all()
        whole = b"".join(b"%09d\n" % i for i in range(size // 10 + 1))[:size]
        if size <= LOG_BYTES:
            assert text == whole
        else:
            assert text[:LOG_BYTES] == whole[:LOG_BYTES]
            assert text[LOG_BYTES:] == b"\n" + whole[max(LOG_BYTES, size - LOG_BYTES) :]


def test_what_an_ffmpeg_says_fills_no_memory(tmp_path, make_video, monkeypatch):
    path = make_video(tmp_path / "a.avi", frames=3)
    quiet = transcode(path, FrameSettings(short_side=16))
    noisy = tmp_path / "ffmpeg"
    noisy.write_text(
        f'#!/bin/sh\n{find_ffmpeg()} "$@"\nstatus=$?\n'
        "head -c 20000000 /dev/zero | tr '\\0' '\\n' >&2\nexit $status\n"
    )
    noisy.chmod(0o755)
    monkeypatch.setattr(ffmpeg_engine, "find_ffmpeg", lambda: str(noisy))
    seen = []
    log = ffmpeg_engine.FfmpegLog
    monkeypatch.setattr(
        ffmpeg_engine, "FfmpegLog", lambda text, path: seen.append(len(text)) or log(text, path)
    )
    assert transcode(path, FrameSettings(short_side=16)) == quiet
    assert seen == [2 * LOG_BYTES + 1]


def test_of_many_lines_the_first_and_the_last_stay():
    lines: list[str] = []
    for number in range(100_000):
        add_line(lines, str(number))
        assert len(lines) <= 3000
    assert lines[:1000] == [str(number) for number in range(1000)]
    assert lines[-1000:] == [str(number) for number in range(99_000, 100_000)]


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
def test_the_limits_are_options_and_what_they_refuse_is_a_row(engine, tmp_path, make_video):
    (tmp_path / "videos").mkdir()
    gif(tmp_path / "videos" / "a.gif", 600, 600, 3)
    make_video(tmp_path / "videos" / "b.avi", frames=3)
    words = ("build", "folder", "--source", "videos", "--engine", engine, "--short-side", "16")
    result = run_ascnet(*words, "--max-pixels", 100_000, "--max-memory", 0.5, cwd=tmp_path)
    assert "2 expected, 1 built, 1 failed: too large 1" in result.stdout, result.stderr
    rows = ShardDataset(tmp_path / "shards" / "folder").rows()
    detail = "a frame takes 600x600 pixels, and 100000 are allowed (--max-pixels)"
    assert [row.detail for row in rows if row.status == FAILED] == [detail]
    # They are no part of what is built: the same command with others goes on.
    again = run_ascnet(*words, "--retry-failed", cwd=tmp_path)
    assert "2 expected, 2 built, 0 failed" in again.stdout, again.stderr
    assert "nan is not a number; it takes 0.25<=x" in refused(
        *words, "--max-memory", "nan", cwd=tmp_path
    )


def test_no_limit_leaves_anything_open(tmp_path, make_video):
    path = make_video(tmp_path / "a.avi", frames=3)
    before = len(list(Path("/proc/self/fd").iterdir()))
    transcode(path, FrameSettings(short_side=16))
    failed(path, FrameSettings(short_side=16), Limits(frames=1))
    failed(path, FrameSettings(short_side=16), Limits(seconds=0.0))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
