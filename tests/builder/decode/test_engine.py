import hashlib
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from builder.decode import engine as transcode_module
from builder.decode.engine import engine_version, must_have_engine, transcode
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import Failure, Frames, FrameSettings
from builder.decode.processes import Children
from builder.errors import BuilderError
from builder.video_limits import Limits
from tests.builder.decode.decoded import LIMITS, built, count, difference, failed, ffmpeg, picture

HERE = sys.executable


def test_every_frame_at_native_rate(make_video, tmp_path, settings):
    frames = built(make_video(tmp_path / "a.avi", frames=23), settings)
    assert count(frames) == 23
    assert frames.offsets[-1] == len(frames.blob)
    assert (frames.width, frames.height) == (42, 32)
    assert all(picture(frames, i).shape == (32, 42, 3) for i in range(23))
    assert (frames.warnings, frames.detail) == ((), "")


def test_facts_of_the_source(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.mp4", frames=50)
    facts = built(path, settings).facts
    assert (facts.fps, facts.nominal_fps, facts.duration, facts.rotation) == (25.0, 25.0, 2.0, None)
    assert facts.source_bytes == path.stat().st_size
    assert facts.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts.last_line == ""


def test_average_and_nominal_rate_differ_when_frames_are_dropped(make_video, tmp_path, settings):
    every = make_video(tmp_path / "a.mkv", frames=50)
    path = tmp_path / "b.mp4"
    ffmpeg("-i", every, "-vf", "select='not(mod(n,5))+lt(n,25)'", "-fps_mode", "vfr", path)
    facts = built(path, settings).facts
    assert facts.nominal_fps == 25.0
    assert facts.fps < 20


def test_frames_look_like_the_video(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi", pattern="testsrc", size="128x96")
    frames = built(path, replace(settings, short_side=96))
    raw = ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    original = np.frombuffer(raw, np.uint8).reshape(-1, 96, 128, 3)
    assert len(original) == count(frames)
    for i in (0, 7, 19):
        assert difference(picture(frames, i), original[i]) < 6


def test_same_bytes_every_time(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi")
    assert built(path, settings) == built(path, settings)


@pytest.mark.parametrize(
    ("size", "args", "expected"),
    [
        ("64x48", "", (42, 32)),
        ("48x64", "", (32, 42)),
        ("50x50", "", (32, 32)),
        ("64x64", "-vf setsar=2/1", (64, 32)),  # pixels become square
    ],
)
def test_short_side(make_video, tmp_path, size, args, expected, settings):
    frames = built(make_video(tmp_path / "a.mp4", size=size, args=args), settings)
    assert (frames.width, frames.height) == expected


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_is_honoured(make_video, tmp_path, degrees, mirrored, settings):
    upright = make_video(tmp_path / "a.mp4", size="64x48")
    turned = tmp_path / "b.mp4"
    flip = ["-display_hflip"] if mirrored else []
    ffmpeg("-display_rotation", degrees, *flip, "-i", upright, "-c", "copy", turned)
    frames, original = built(turned, settings), built(upright, settings)
    by_ffmpeg = built(turned, replace(settings, engine="ffmpeg"))
    assert (frames.width, frames.height) == ((42, 32) if degrees == 180 else (32, 42))
    assert difference(picture(frames, 5), picture(by_ffmpeg, 5)) < 6
    assert difference(picture(frames, 5)[:32, :32], picture(original, 5)[:32, :32]) > 20
    if not mirrored:
        assert frames.facts.rotation == (360 - degrees) % 360


def test_a_camera_writes_more_than_how_it_was_held(tmp_path, settings):
    """EXIF stays with the frame; PyAV has no name for it."""
    picture_of, exif = Image.new("RGB", (64, 48), "red"), Image.Exif()
    exif[0x112] = 6  # the top is on the right: turn with the clock
    picture_of.paste("blue", (0, 0, 64, 24))
    with (tmp_path / "a.mjpeg").open("wb") as file:
        for _ in range(3):
            picture_of.save(file, "JPEG", exif=exif)
    ffmpeg("-f", "mjpeg", "-i", tmp_path / "a.mjpeg", "-c", "copy", tmp_path / "a.avi")
    frames = built(tmp_path / "a.avi", settings)
    assert (count(frames), frames.width, frames.height) == (3, 32, 42)
    left, right = picture(frames, 0)[:, 4], picture(frames, 0)[:, -4]
    assert (left[:, 0] > left[:, 2]).all() and (right[:, 2] > right[:, 0]).all()


@pytest.mark.parametrize(
    "name", ["-dash.avi", "a:b.avi", "ü 日本 #;[(&!@+.avi", "%d.avi", "a'b.avi"]
)
def test_odd_names(make_video, tmp_path, name, settings):
    assert count(built(make_video(tmp_path / name, frames=3), settings)) == 3


def test_repeated_time_stamps_cost_no_frame(make_video, tmp_path, settings):
    plain = make_video(tmp_path / "b.mkv", frames=12)
    squeezed = tmp_path / "c.mkv"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", "setts=ts=0", squeezed)
    assert count(built(squeezed, settings)) == 12


def test_failures_have_reasons(make_video, tmp_path, settings):
    good = make_video(tmp_path / "good.mp4", frames=50, size="128x96").read_bytes()
    cases = {
        "empty file": b"",
        "truncated": good[: len(good) // 2],
        "not a video": b"<html><body>404</body></html>" * 50,
    }
    for reason, content in cases.items():
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        failure = failed(path, settings)
        assert failure.reason == reason
        assert failure.facts.source_bytes == len(content)
        assert failure.facts.source_sha256 == hashlib.sha256(content).hexdigest()
    assert failure.facts.last_line
    assert str(tmp_path) not in failure.detail + failure.facts.last_line
    assert failed(tmp_path / "absent.mp4", settings).reason == "missing"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert failed(tmp_path / "pipe.mp4", settings).reason == "unreadable"
    assert failed(tmp_path, settings).reason == "unreadable"


def test_sound_without_pictures(tmp_path, settings):
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    assert failed(path, settings).reason == "no video stream"


def test_damage_is_a_warning(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi", frames=60, size="128x96")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\x5a" * 3000
    path.write_bytes(content)
    frames = built(path, settings)
    assert frames.warnings == ("damaged",)
    assert frames.detail
    assert 30 <= count(frames) <= 60


def test_too_short_and_cut(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi", frames=20)
    short = failed(path, replace(settings, min_frames=21))
    assert (short.reason, short.detail) == ("too short", "20 frames")
    assert short.facts.fps == 25.0
    whole, cut = built(path, settings), built(path, replace(settings, max_frames=7))
    assert cut.warnings == ("cut",)
    assert count(cut) == 7
    assert cut.blob == whole.blob[: whole.offsets[7]]
    assert built(path, replace(settings, max_frames=20)) == whole


def test_too_large(make_video, tmp_path, settings):
    result = failed(make_video(tmp_path / "a.avi"), settings, Limits(stored=5000))
    assert (result.reason, result.detail) == ("too large", Limits(stored=5000).too_many_bytes)


def test_quality_and_chroma(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi", size="128x96", pattern="testsrc2")
    sizes = [len(built(path, replace(settings, jpeg_quality=q)).blob) for q in (2, 3, 6, 10)]
    assert sizes == sorted(sizes, reverse=True)
    full = built(path, replace(settings, chroma="444"))
    assert simplejpeg.decode_jpeg_header(bytes(full.blob[: full.offsets[1]]))[3] == "444"


def test_resampling(make_video, tmp_path):
    path = make_video(tmp_path / "a.avi", frames=50)  # two seconds
    settings = FrameSettings(short_side=32, fps=10)
    assert count(built(path, settings)) == 20
    assert count(built(path, replace(settings, fps=50))) == 100
    with pytest.raises(BuilderError, match="--fps 10 needs ffmpeg"):
        must_have_engine(replace(settings, engine="pyav"))


def test_both_engines_give_the_same_pictures(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", size="320x240", args="-c:v libx264")
    one, other = (
        built(path, FrameSettings(64, chroma="444", engine=name)) for name in ("ffmpeg", "pyav")
    )
    assert count(one) == count(other)
    assert all(difference(picture(one, i), picture(other, i)) < 4 for i in range(count(one)))
    assert one.facts == other.facts


def test_a_killed_ffmpeg_says_nothing_of_the_video(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.avi")
    killed = tmp_path / "ffmpeg"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("builder.decode.ffmpeg.find_ffmpeg", lambda: str(killed))
    with pytest.raises(BuilderError, match="stopped by signal 9"):
        transcode(path, FrameSettings())


@pytest.mark.parametrize(
    ("sign", "expected"), [(signal.SIGSEGV, "segfault"), (signal.SIGKILL, None)]
)
def test_a_pyav_worker_that_dies(make_video, tmp_path, monkeypatch, sign, expected):
    path, settings = make_video(tmp_path / "a.avi"), FrameSettings(engine="pyav")
    with Children() as children:
        worker = tmp_path / "python"
        worker.write_text(f"#!/bin/sh\nread line\nkill -{int(sign)} $$\n")
        worker.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(worker))
        if expected:
            result = transcode(path, settings, LIMITS, children)
            assert result == Failure("decoder failed", f"PyAV crashed ({expected})", result.facts)
        else:
            with pytest.raises(BuilderError, match="stopped by signal 9"):
                transcode(path, settings, LIMITS, children)
        monkeypatch.setattr(sys, "executable", HERE)
        assert isinstance(transcode(path, settings, LIMITS, children), Frames)


def test_a_pyav_worker_does_one_video_after_the_other(make_video, tmp_path):
    settings = FrameSettings(engine="pyav")
    (tmp_path / "b.avi").write_bytes(b"nothing" * 99)
    with Children() as children:
        for path in (make_video(tmp_path / "a.avi"), tmp_path / "b.avi", tmp_path / "a.avi"):
            transcode(path, settings, LIMITS, children)
            assert len(children.idle) == 1
        (worker,) = children.idle
    assert worker.poll() is not None


def test_time_limit(make_video, tmp_path, settings):
    path = make_video(tmp_path / "a.avi", frames=2000, size="320x240")
    assert failed(path, settings, Limits(seconds=0.05)).reason == "timeout"


@pytest.mark.parametrize("times", [1, 9])
def test_a_file_that_grows_while_it_is_read(make_video, tmp_path, monkeypatch, settings, times):
    """It is read once more; its frames and its hash are of the same bytes, or it fails."""
    path, whole = tmp_path / "a.mpg", make_video(tmp_path / "b.mpg", args="-c:v mpeg2video")
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    parts = [content[len(content) // 2 :], *[b"more"] * 8][:times]
    decode = transcode_module.ENGINES[settings.engine]

    def growing(*words):
        result = decode(*words)
        if parts:
            with path.open("ab") as file:
                file.write(parts.pop(0))
        return result

    monkeypatch.setitem(transcode_module.ENGINES, settings.engine, growing)
    result = transcode(path, settings)
    if times == 1:
        assert isinstance(result, Frames)
        assert result.blob == built(whole, settings).blob
        assert result.facts.source_sha256 == hashlib.sha256(content).hexdigest()
    else:
        assert isinstance(result, Failure)
        assert result.reason == "changed"


def test_a_file_that_vanishes_while_it_is_read(tmp_path, monkeypatch, settings):
    (tmp_path / "a.avi").write_bytes(b"no video")
    decode = transcode_module.ENGINES[settings.engine]

    def vanishing(path, *words):
        path.unlink()
        return decode(path, *words)

    monkeypatch.setitem(transcode_module.ENGINES, settings.engine, vanishing)
    assert failed(tmp_path / "a.avi", settings).reason == "missing"


def test_versions_are_part_of_the_engine(monkeypatch):
    assert engine_version("ffmpeg").startswith("ffmpeg ")
    assert engine_version("pyav").startswith("pyav ")
    monkeypatch.setattr("builder.decode.pyav.find_spec", lambda name: None)
    with pytest.raises(BuilderError, match=r"pip install 'ascnet\[pyav\]'"):
        engine_version("pyav")


def test_a_named_ffmpeg_must_be_there(monkeypatch):
    find_ffmpeg.cache_clear()
    monkeypatch.setenv("ASCNET_FFMPEG", "/no/such/ffmpeg")
    with pytest.raises(BuilderError, match=r"ASCNET_FFMPEG is '/no/such/ffmpeg'"):
        find_ffmpeg()
    monkeypatch.delenv("ASCNET_FFMPEG")
    assert Path(find_ffmpeg()).is_file()
