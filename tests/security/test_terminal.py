"""No name, message or answer that others wrote steers the terminal."""

import io
import sys

import pytest

from ascnet.progress import ProgressBar
from ascnet.terminal import safe_streams, shown
from tests.commands import run_ascnet

CLIPBOARD = "\x1b]52;c;eHl6\x07"  # writes the clipboard of many terminals
STEERING = (CLIPBOARD, "\x9b2J", "\rError: all is well", "\x08", "\u202egnp.exe", "\x7f", "\u2028")
UNSEEN = ("\u200b", "\u2060", "\ufeff", "\U000e0041")


@pytest.mark.parametrize("text", [*STEERING, *UNSEEN])
def test_what_steers_is_shown_as_its_escape(text):
    safe = shown(f"a{text}b")
    assert safe.isprintable() and safe[0] == "a" and safe[-1] == "b"


def test_escapes_are_those_of_python():
    assert shown("\x1b\x9b\r\u202e\udc80") == r"\x1b\x9b\r\u202e\udc80"


def test_what_people_write_is_left_as_it_is():
    for text in (
        "tab\tand\nline",
        "é 日本 עברית العربية",
        "emoji \U0001f600",
        "soft\xadhyphen",
        "می\u200cخواهم",
    ):
        assert shown(text) == text


def test_every_way_of_printing(capsys):
    with safe_streams():
        print(CLIPBOARD)
        print(CLIPBOARD, file=sys.stderr)
        sys.stdout.writelines([CLIPBOARD])
    out, err = capsys.readouterr()
    assert out.count("\\x1b]52;c;eHl6\\x07") == 2 and err.startswith("\\x1b]52")
    assert not set(out + err) & set("\x1b\x07")


@pytest.mark.parametrize("name", ["{x}", "{desc.__class__}", "{", "{0!r:>99999999}", CLIPBOARD])
def test_a_name_in_a_progress_bar_is_text(name, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with safe_streams(), ProgressBar("building", "videos") as progress:
        progress(1, 2, name)
        progress(2, 2, name)
    assert shown(name) in terminal.getvalue() and CLIPBOARD not in terminal.getvalue()


def test_names_of_videos_and_folders(make_video, tmp_path):
    place = tmp_path / f"in{CLIPBOARD.replace('/', '')}"
    for name in (f"a{CLIPBOARD}.avi", "b\r\u202ec.avi"):
        make_video(place / name, frames=3)
    (place / f"broken{CLIPBOARD}.avi").write_bytes(b"x")
    (place / f"notes{CLIPBOARD}.txt").write_bytes(b"x")
    commands = [
        ("build", "folder", "--source", place, "--strict"),
        ("verify", f"shards/none{CLIPBOARD}"),
        ("info", "--classes"),
        ("show", "--video", 0),
        ("train", f"shards/{CLIPBOARD}"),
        ("train", "--recipe", f"{CLIPBOARD}.toml"),
        (f"x{CLIPBOARD}",),
        ("evaluate", "--task", CLIPBOARD),
    ]
    for words in commands:
        done = run_ascnet(*words, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert said and not set(said) & set("\x1b\x07\r\u202e"), words
