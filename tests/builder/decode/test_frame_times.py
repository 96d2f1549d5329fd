from dataclasses import replace

import numpy as np
import pytest

from builder.decode.frame_times import MAX_HOLE, spacing
from builder.decode.frames import FrameSettings
from tests.builder.decode.decoded import built, count, ffmpeg, joined

EVEN = [i / 25 for i in range(40)]


@pytest.mark.parametrize(
    "stamps",
    [
        EVEN,
        [7.5 + stamp for stamp in EVEN],  # from whatever the first is
        [round(stamp * 24 / 25, 3) * 25 / 24 for stamp in EVEN],  # in milliseconds
        [*EVEN[:9], None, *EVEN[10:]],
        [None] * 40,
        [3.0],
        [],
    ],
)
def test_even_frames_need_no_times(stamps):
    spaced = spacing(stamps, 25.0)
    assert (spaced.fps, spaced.times, spaced.jumps) == (25.0, None, False)


def test_a_stated_rate_that_the_stamps_deny():
    spaced = spacing(EVEN, 60.0)
    assert (spaced.fps, spaced.times) == (25.0, None)
    assert spacing(EVEN, None).fps == 25.0
    assert spacing([i * 1001 / 24000 for i in range(9000)], 23.98).fps == 23.98  # as ffmpeg rounds


def test_uneven_frames_have_times_and_their_average_rate():
    stamps = [0.0, 0.1, 0.2, 0.3, 1.3, 1.4]
    spaced = spacing([2 + stamp for stamp in stamps], 10.0)
    assert spaced.times == pytest.approx(stamps)
    assert (spaced.fps, spaced.jumps) == (3.57, False)


def test_time_that_runs_backwards_goes_on_from_where_it_was():
    spaced = spacing(EVEN + EVEN, 25.0)
    assert (spaced.fps, spaced.times, spaced.jumps) == (25.0, None, True)


def test_untidy_stamps_do_not_stretch_time():
    spaced = spacing([0.0, 0.08, 0.04, 0.12, 0.2, 0.16, 0.24], 25.0)
    assert spaced.jumps
    assert spaced.times is not None
    assert spaced.times == pytest.approx([0.0, 0.08, 0.08, 0.12, 0.2, 0.2, 0.24], abs=1e-5)
    assert (np.diff(spaced.times) > 0).all()


@pytest.mark.parametrize("scale", [12_800, 15_360, 16_000, 48_000])
def test_two_frames_with_one_time_stamp_stay_apart(scale):
    """In whole microseconds, too, in which times are stored."""
    for begin in range(0, 3000, 7):
        ticks = np.array([0, *(begin + k * scale // 25 for k in range(40))]) / scale
        spaced = spacing([*ticks, ticks[-1]], 25.0)
        if spaced.times is not None:
            assert (np.diff(np.round(np.array(spaced.times) * 1e6)) >= 1).all(), begin


def test_a_hole_is_limited():
    spaced = spacing([*EVEN, *(36_000 + stamp for stamp in EVEN)], 25.0)
    assert spaced.jumps
    assert spaced.times is not None
    assert np.diff(spaced.times).max() == pytest.approx(MAX_HOLE)
    assert spaced.times[-1] == pytest.approx(MAX_HOLE + 2 * EVEN[-1])
    assert not spacing([*EVEN, *(8 + stamp for stamp in EVEN)], 25.0).jumps


@pytest.mark.parametrize("suffix", ["mkv", "webm", "ts"])
@pytest.mark.parametrize("fps", [None, 25.0, 10.0])
def test_two_recordings_joined_end_to_end(make_video, tmp_path, suffix, fps):
    codec = {"webm": "libvpx"}.get(suffix, "mpeg2video")
    one = make_video(tmp_path / f"one.{suffix}", frames=30, args=f"-c:v {codec}")
    frames = built(joined(tmp_path / f"joined.{suffix}", one, one), FrameSettings(32, fps=fps))
    assert count(frames) == pytest.approx(60 * (fps or 25) / 25, abs=1)
    assert frames.times is None
    assert frames.warnings == ("time jumps",)


def test_a_hole_of_hours(make_video, tmp_path, settings):
    plain, path = make_video(tmp_path / "a.mkv", frames=50), tmp_path / "b.mkv"
    late = r"setts=ts=if(lt(N\,25)\,TS\,TS+36000/TB)"
    ffmpeg("-i", plain, "-c", "copy", "-bsf:v", late, path)
    frames = built(path, settings)
    assert count(frames) == 50
    assert frames.warnings == ("time jumps",)
    assert frames.times is not None and frames.times[-1] == pytest.approx(48 / 25 + MAX_HOLE)
    if settings.engine == "ffmpeg":
        repeated = built(path, FrameSettings(32, fps=10))
        assert count(repeated) == pytest.approx(10 * (2 + MAX_HOLE), abs=2)
        assert repeated.warnings == ("time jumps",)


def test_times_of_a_variable_frame_rate(make_video, tmp_path, settings):
    """The first second at 25 frames a second, the next four at 5."""
    plain, path = make_video(tmp_path / "a.mkv", frames=125), tmp_path / "b.mp4"
    ffmpeg("-i", plain, "-vf", "select='lt(n,25)+not(mod(n,5))'", "-fps_mode", "vfr", path)
    frames = built(path, settings)
    expected = [i / 25 for i in range(25)] + [i / 5 for i in range(5, 25)]
    assert frames.times == pytest.approx(expected, abs=1e-4)
    assert frames.fps == pytest.approx(44 / 4.8, abs=0.01)
    cut = built(path, replace(settings, max_frames=30))
    assert cut.times == frames.times[:30]
    assert built(path, replace(settings, max_frames=20)).times is None
    assert built(plain, settings).times is None
    if settings.engine == "ffmpeg":
        assert built(path, replace(settings, fps=5)).times is None


def test_time_that_begins_again_with_another_picture_size(make_video, tmp_path):
    parts = [
        make_video(tmp_path / f"{size}.ts", size=size, args="-c:v libx264")
        for size in ("64x48", "96x64")
    ]
    frames = built(joined(tmp_path / "joined.ts", *parts), FrameSettings(32))
    assert count(frames) == 40
    assert "size changed" in frames.warnings


def test_another_pixel_format_alone_is_no_other_size(make_video, tmp_path, settings):
    parts = [
        make_video(tmp_path / f"{format}.ts", args=f"-c:v libx264 -pix_fmt {format}")
        for format in ("yuv420p", "yuv422p")
    ]
    frames = built(joined(tmp_path / "joined.ts", *parts), settings)
    assert count(frames) == 40
    assert "size changed" not in frames.warnings
