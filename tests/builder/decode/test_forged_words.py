"""Words of ffmpeg's log in titles, tags, chapters and names: none may pass for ffmpeg's own."""

import random
from pathlib import Path

import pytest

from builder.decode.engine import transcode
from builder.decode.frames import Frames, FrameSettings
from tests.builder.decode.decoded import built, decoded, failed, ffmpeg

WORDS = (
    "we received signal 9 years ago",
    "Exiting normally, received signal 15.",
    "[info] Exiting normally, received signal 2.",
    "[error] Invalid data found when processing input",
    "[fatal] Conversion failed!",
    "\x1b[0;31m[error] \x1b[0m\x1b[0;31mcorrupt decoded frame\x1b[0m",
    "corrupt decoded frame",
    "Duration: 01:02:03.00, start: 0.000000, bitrate: 9 kb/s",
    "[info]   Duration: 01:02:03.00, start: 0.000000, bitrate: 9 kb/s",
    "Stream #0:0: Video: h264, 640x480, 60 fps, 60 tbr, 60 tbn (default)",
    "[info]   Stream #0:0: Video: h264, yuv420p(tv, ictcp/ictcp/log100), 640x480, 60 fps, 60 tbr",
    "[info]   Stream #0:1(eng): Video: mjpeg, 640x480, 60 fps (attached pic)",
    "[info]       displaymatrix: rotation of -90.00 degrees",
    "Output #0, mjpeg, to 'pipe:1':",
    "[info] Output #0, mjpeg, to 'pipe:1':",
    "[info] Stream mapping:",
    "Stream map matches no streams",
    "misdetection possible",
    "moov atom not found",
    "End of file",
    "no decoder found for: none",
    "Error reinitializing filters!",
    "timestamp discontinuity",
    "Frame Cropping: 8/8/8/8",
    "      Frame Cropping: 8/8/8/8",
    "Reconfiguring filter graph because video parameters changed to yuv420p, 640x480",
    "[graph 0 input from stream 0:0 @ 0x1] [verbose] w:640 h:480 pixfmt:yuv420p csp:ictcp",
    "frame:0 pts:0 pts_time:77",
    "deprecated pixel format used",
)
GLUE = ("", " ", "\n", "\r", "\n[info] ", "\n  ", ": ", "\t", "\r\n")


def text(rng: random.Random) -> str:
    """Words of the log, one or several, in any order, with line ends between them or not."""
    count = rng.randint(1, 4)
    return rng.choice(GLUE).join(rng.sample(WORDS, count)) + rng.choice(("", "\n", "."))


def tags(rng: random.Random) -> list[str]:
    """Arguments of ffmpeg that put such words into a file's tags: values, keys, languages."""
    words = []
    for scope in rng.sample(("-metadata", "-metadata:s:v:0", "-metadata:s:a:0"), rng.randint(1, 3)):
        key = rng.choice(("title", "comment", "handler_name", "language", text(rng)))
        words += [scope, f"{key.replace('=', '-')}={text(rng)}"]
    return words


def chapters(rng: random.Random) -> str:
    """An ffmetadata file with a chapter of such a title."""
    title = text(rng)
    for special in "\\=;#\n":
        title = title.replace(special, f"\\{special}")
    return f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle={title}\n"


def name(rng: random.Random, suffix: str) -> str:
    """A file name of such words; the system allows all but a slash, and 255 bytes."""
    return f"{text(rng).replace('/', '-')[:180]}{suffix}"


def differences(one: Frames, other: Frames) -> list[str]:
    """Fields of two builds that differ. What a forger makes ambiguous may be unknown (None), never
    false; but a forger may add to the number of streams, and `last_line` may be a true word of
    libav on odd tags."""
    fields = {
        name: (getattr(one.facts, name), getattr(other.facts, name))
        for name in ("fps", "nominal_fps", "duration", "rotation", "stream")
    }
    fields = {name: both for name, both in fields.items() if both[1] is not None}
    for name in ("blob", "warnings", "fps", "times", "detail"):
        fields[name] = (getattr(one, name), getattr(other, name))
    return [f"{field}: {a} != {b}" for field, (a, b) in fields.items() if a != b]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, Path]:
    """Half a second of picture and sound at 10 frames a second, in two containers."""
    folder = tmp_path_factory.mktemp("plain")
    made = {}
    for suffix in (".mkv", ".mp4"):
        made[suffix] = folder / f"plain{suffix}"
        sources = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10", "-f", "lavfi", "-i", "sine")
        ffmpeg(*sources, "-t", "0.5", "-c:v", "mpeg4", "-c:a", "aac", made[suffix])
    return made


def try_files(plain: dict[str, Path], folder: Path, seeds: range, engine: str) -> list[str]:
    """Build a file for every seed; what came out otherwise than for the plain file."""
    settings = FrameSettings(32, engine=engine)
    wanted = {suffix: built(path, settings) for suffix, path in plain.items()}
    wrong = []
    for seed in seeds:
        rng = random.Random(seed)
        suffix = rng.choice(sorted(plain))
        notes, path = folder / "chapters.txt", folder / name(rng, suffix)
        notes.write_text(chapters(rng), encoding="utf-8")
        words = ("-map", "0", "-map_chapters", "1", "-c", "copy", *tags(rng), f"file:{path}")
        ffmpeg("-i", plain[suffix], "-i", notes, *words)
        result = decoded(path, settings)
        path.unlink()
        if not isinstance(result, Frames):
            wrong.append(f"seed {seed}: {result}")
        else:
            wrong += [f"seed {seed}: {text}" for text in differences(wanted[suffix], result)]
    return wrong


@pytest.mark.parametrize("engine", ["ffmpeg", "pyav"])
@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(1000, 1500), marks=pytest.mark.slow)], ids=str
)
def test_no_word_of_a_file_steers_its_build(plain, tmp_path, seeds, engine):
    assert try_files(plain, tmp_path, seeds, engine) == []


@pytest.mark.parametrize("word", WORDS)
def test_a_name_is_no_word_of_ffmpeg(plain, tmp_path, word):
    path = tmp_path / f"{word.replace('/', '-')}.mkv"
    path.write_bytes(plain[".mkv"].read_bytes())
    broken = tmp_path / f"b {word.replace('/', '-')}.mp4"
    broken.write_bytes(b"nothing" * 99)
    result = built(path, FrameSettings(32))
    assert (result.warnings, result.detail) == ((), "")
    assert failed(broken, FrameSettings(32)).reason == "not a video"


@pytest.mark.parametrize(
    "variable", ["AV_LOG_FORCE_NOCOLOR", "NO_COLOR", "AV_LOG_FORCE_256COLOR", "FFREPORT"]
)
def test_the_users_own_settings_of_the_log_change_nothing(plain, tmp_path, monkeypatch, variable):
    usual = transcode(plain[".mkv"], FrameSettings(32))
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.chdir(tmp_path)
    assert transcode(plain[".mkv"], FrameSettings(32)) == usual
    assert list(tmp_path.iterdir()) == []
