import subprocess
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from builder.errors import BuilderError
from builder.transcode import (
    REASONS,
    Failure,
    Frames,
    FrameSettings,
    find_ffmpeg,
    split_frames,
    transcode,
)

SETTINGS = FrameSettings(short_side=32)


def built(path: Path, settings: FrameSettings = SETTINGS) -> Frames:
    result = transcode(path, settings)
    assert isinstance(result, Frames), result
    return result


def failed(path: Path, settings: FrameSettings = SETTINGS) -> Failure:
    result = transcode(path, settings)
    assert isinstance(result, Failure), result
    assert result.reason in REASONS
    return result


def picture(frames: Frames, i: int) -> np.ndarray:
    return simplejpeg.decode_jpeg(frames.blob[frames.offsets[i] : frames.offsets[i + 1]])


def test_every_frame_at_native_rate(make_video, tmp_path):
    frames = built(make_video(tmp_path / "a.avi", frames=23))
    assert len(frames.offsets) == 24
    assert frames.offsets[-1] == len(frames.blob)
    assert (frames.width, frames.height, frames.fps) == (42, 32, 25.0)
    assert all(picture(frames, i).shape == (32, 42, 3) for i in range(23))
    assert frames.warnings == ()


def test_frames_look_like_the_video(make_video, tmp_path):
    path = make_video(tmp_path / "a.avi", pattern="testsrc", size="128x96")
    frames = built(path, FrameSettings(short_side=96))
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    original = np.frombuffer(raw.stdout, np.uint8).reshape(-1, 96, 128, 3)
    assert len(original) == len(frames.offsets) - 1
    for i in (0, 7, 19):
        assert np.abs(picture(frames, i).astype(float) - original[i]).mean() < 6


def test_same_bytes_every_time(make_video, tmp_path):
    path = make_video(tmp_path / "a.avi")
    assert built(path) == built(path)


@pytest.mark.parametrize(
    ("size", "expected"), [("64x48", (42, 32)), ("48x64", (32, 42)), ("50x50", (32, 32))]
)
def test_short_side(make_video, tmp_path, size, expected):
    frames = built(make_video(tmp_path / "a.avi", size=size))
    assert (frames.width, frames.height) == expected


def test_pixels_become_square(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", size="64x64", args="-vf setsar=2/1")
    assert (built(path).width, built(path).height) == (64, 32)


def test_rotation_is_honoured(make_video, tmp_path):
    upright = make_video(tmp_path / "a.mp4", size="64x48")
    turned = tmp_path / "b.mp4"
    command = [find_ffmpeg(), "-v", "error", "-display_rotation", "90", "-i", str(upright)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    frames, original = built(turned), built(upright)
    assert (frames.width, frames.height) == (32, 42)
    turned_back = np.rot90(picture(frames, 5), -1).astype(float)
    assert np.abs(turned_back - picture(original, 5)).mean() < 6


@pytest.mark.parametrize(
    "name", ["-dash.avi", "a:b.avi", "ü 日本 #;[(&!@+.avi", "%d.avi", "a'b.avi"]
)
def test_odd_names(make_video, tmp_path, name):
    assert len(built(make_video(tmp_path / name, frames=3)).offsets) == 4


def test_repeated_time_stamps_cost_no_frame(make_video, tmp_path):
    plain = make_video(tmp_path / "b.mkv", frames=12)
    command = [find_ffmpeg(), "-v", "error", "-i", str(plain), "-c", "copy"]
    squeezed = tmp_path / "c.mkv"
    subprocess.run([*command, "-bsf:v", "setts=ts=0", str(squeezed)], check=True)
    assert len(built(squeezed).offsets) == 13


def test_failures_have_reasons(make_video, tmp_path):
    good = make_video(tmp_path / "good.mp4", frames=50, size="128x96").read_bytes()
    cases = {
        "empty file": b"",
        "truncated": good[: len(good) // 2],
        "not a video": b"<html><body>404</body></html>" * 50,
    }
    for reason, content in cases.items():
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        assert failed(path).reason == reason
    assert failed(tmp_path / "absent.mp4").reason == "missing"
    assert failed(tmp_path).reason == "unreadable"


def test_sound_without_pictures(tmp_path):
    path = tmp_path / "a.mp4"
    command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(path)]
    subprocess.run(command, check=True)
    assert failed(path).reason == "no video stream"


def test_damage_is_a_warning(make_video, tmp_path):
    path = make_video(tmp_path / "a.avi", frames=60, size="128x96")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\x5a" * 3000
    path.write_bytes(content)
    frames = built(path)
    assert "damaged" in frames.warnings
    assert 30 <= len(frames.offsets) - 1 <= 60


def test_a_killed_ffmpeg_says_nothing_of_the_video(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.avi")
    killed = tmp_path / "ffmpeg"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("builder.transcode.find_ffmpeg", lambda: str(killed))
    with pytest.raises(BuilderError, match="stopped by signal 9"):
        transcode(path, SETTINGS)


def test_frame_rate_that_the_file_does_not_say(make_video, tmp_path):
    frames = built(make_video(tmp_path / "a.avi", frames=3))
    assert frames.fps == 25.0
    single = tmp_path / "one.ts"
    command = [find_ffmpeg(), "-v", "error", "-i", str(tmp_path / "a.avi"), "-frames:v", "1"]
    subprocess.run([*command, "-c:v", "mpeg2video", str(single)], check=True)
    assert built(single).fps in (None, 25.0)


def test_time_limit(make_video, tmp_path):
    path = make_video(tmp_path / "a.avi", frames=2000, size="320x240")
    assert failed(path, FrameSettings(timeout=0.05)).reason == "timeout"


def test_a_named_ffmpeg_must_be_there(monkeypatch):
    find_ffmpeg.cache_clear()
    monkeypatch.setenv("ASCNET_FFMPEG", "/no/such/ffmpeg")
    with pytest.raises(BuilderError, match=r"ASCNET_FFMPEG is '/no/such/ffmpeg'"):
        find_ffmpeg()
    monkeypatch.delenv("ASCNET_FFMPEG")
    assert Path(find_ffmpeg()).is_file()


def jpeg(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return simplejpeg.encode_jpeg(noise)


def test_split_frames():
    small, large = jpeg(16, 24), jpeg(40, 8)
    # An end marker inside a header segment (a comment) ends nothing.
    commented = small[:2] + b"\xff\xfe\x00\x06a\xff\xd9b" + small[2:]
    offsets, sizes = split_frames(small + commented + large)
    ends = [len(small), len(small) + len(commented), len(small) + len(commented) + len(large)]
    assert offsets == [0, *ends]
    assert sizes == {(24, 16), (8, 40)}


@pytest.mark.parametrize(
    "tail", [b"", b"junk", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF"]
)
def test_split_frames_leaves_out_what_is_no_frame(tail):
    one = jpeg(16, 16)
    assert split_frames(one + tail)[0] == [0, len(one)]
    assert split_frames(tail)[0] == [0]
