"""Which stream of a file is built: the one that a player plays."""

import subprocess
from pathlib import Path

import pytest

from builder.decode.engine import transcode
from builder.decode.ffmpeg import find_ffmpeg
from builder.decode.frames import Failure, Frames, FrameSettings


@pytest.fixture(params=["ffmpeg", "pyav"])
def settings(request) -> FrameSettings:
    return FrameSettings(short_side=32, engine=request.param)


def ffmpeg(*words: str | Path) -> None:
    subprocess.run([find_ffmpeg(), "-v", "error", "-y", *map(str, words)], check=True)


def join(out: Path, *inputs: Path, options: str = "") -> Path:
    """A file with the video streams of all inputs, in their order."""
    words: list[str | Path] = []
    for path in inputs:
        words += ["-i", path]
    for i in range(len(inputs)):
        words += ["-map", f"{i}:v"]
    ffmpeg(*words, "-c", "copy", *options.split(), out)
    return out


@pytest.fixture
def film(make_video, tmp_path) -> Path:
    return make_video(tmp_path / "film.mkv", frames=20, size="96x64")


@pytest.fixture
def poster(make_video, tmp_path) -> Path:
    return make_video(tmp_path / "poster.mkv", frames=1, size="320x240", args="-c:v mjpeg")


def told(path: Path, settings: FrameSettings) -> tuple[int, int | None, int | None]:
    """Frames, stream and number of video streams."""
    result = transcode(path, settings)
    assert isinstance(result, Frames), result
    facts = result.facts
    return len(result.offsets) - 1, facts.stream, facts.video_streams


@pytest.mark.parametrize(
    "flags",
    [
        "-disposition:v:0 0 -disposition:v:1 default",
        "-disposition:v:0 0 -disposition:v:1 0",
        "-disposition:v:0 default -disposition:v:1 default",
        "-disposition:v:0 default -disposition:v:1 0",
    ],
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_poster_before_the_film(film, poster, tmp_path, settings, flags, suffix):
    path = join(tmp_path / f"both.{suffix}", poster, film, options=flags)
    assert told(path, settings) == (20, 1, 2)


def test_the_default_or_else_the_largest_of_several_qualities(make_video, film, tmp_path, settings):
    small = make_video(tmp_path / "small.mkv", frames=12, size="48x32")
    none = "-disposition:v:0 0 -disposition:v:1 0 -disposition:v:2 0"
    path = join(tmp_path / "a.mkv", small, film, small, options=none)
    assert told(path, settings) == (20, 1, 3)
    flags = "-disposition:v:0 default -disposition:v:1 0"
    assert told(join(tmp_path / "b.mkv", small, film, options=flags), settings) == (12, 0, 2)


def test_a_cover_picture_is_never_the_video(film, poster, tmp_path, settings):
    path = join(tmp_path / "a.mp4", poster, film, options="-disposition:v:0 attached_pic")
    assert told(path, settings)[0::2] == (20, 1)
    song = tmp_path / "song.mp4"
    ffmpeg(
        *("-f", "lavfi", "-t", 1, "-i", "sine", "-i", poster, "-map", "0", "-map", "1"),
        *("-c:v", "copy", "-disposition:v:0", "attached_pic", song),
    )
    result = transcode(song, settings)
    assert isinstance(result, Failure)
    assert result.reason == "no video stream"


def test_an_empty_stream_before_the_film(film, make_video, tmp_path, settings):
    large = make_video(tmp_path / "large.mkv", size="320x240", args="-c:v libx264")
    path = join(tmp_path / "both.mkv", large, film, options="-bsf:v:0 noise=drop=1")
    assert told(path, settings) == (20, 1, 2)


def test_one_picture_is_a_video_of_one_frame(poster, settings):
    assert told(poster, settings) == (1, 0, 1)


def test_a_stream_of_noise_before_the_film(film, make_video, tmp_path, settings):
    large = make_video(tmp_path / "large.mkv", size="320x240", args="-c:v libx264")
    path = join(tmp_path / "both.mkv", large, film, options="-bsf:v:0 noise=amount=1")
    frames, _, streams = told(path, settings)
    assert (frames, streams) == (20, 2)
