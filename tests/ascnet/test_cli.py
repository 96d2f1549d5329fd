import errno
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ascnet import cli, progress
from ascnet.progress import ProgressBar
from tests.commands import refused, run_ascnet
from tests.conftest import TINY
from tests.processes import start_ascnet

SETTINGS = [word for change in TINY for word in ("--set", change)]


def process(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return start_ascnet(*words, cwd=cwd).end()


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom ascnet.cli import COMMANDS, main\n"
        "for words in ([], *([name] for name in COMMANDS)):\n"
        "    sys.argv = ['ascnet', *words, '--help']\n"
        "    try: main()\n"
        "    except SystemExit as ended: assert not ended.code, words\n"
        "    assert not {'torch', 'h5py', 'scipy', 'sklearn'} & set(sys.modules), words\n"
        "    assert words or 'numpy' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for command in cli.COMMANDS:
        assert result.stdout.count(f"Usage: ascnet {command} ") == 1


def test_ctrl_c_while_modules_load_prints_nothing():
    code = (
        "import os, signal, sys\n"
        "from ascnet import __main__\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'ascnet.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [("ascnet tr", "train"), ("ascnet train --rec", "--recipe"), ("ascnet build uc", "ucf101")],
)
def test_a_shell_completes_commands_options_and_values(line: str, offered: str):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [Path(sys.executable).with_name("ascnet")],
        env=os.environ | words | {"_ASCNET_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"plain,{offered}\n"


def test_three_commands(video_folder, tmp_path):
    built = process("build", "folder", "--source", video_folder, "--short-side", 32, cwd=tmp_path)
    assert "16 expected, 16 built, 0 failed" in built.stdout, built.stderr
    again = process("build", "folder", "--source", video_folder, "--short-side", 32, cwd=tmp_path)
    assert "is up to date" in again.stdout

    trained = process("train", "shards/", *SETTINGS, cwd=tmp_path)
    assert "Recipe demo, as the device is cpu" in trained.stdout, trained.stderr
    assert "training videos of split 1 (16 of 16 built)" in trained.stdout
    assert "1 video too short for 4 frames at stride 2" in trained.stdout
    assert "8 steps, loss" in trained.stdout
    assert "training 8/8 steps" in trained.stderr

    retrieval = process("evaluate", "--task", "retrieval", cwd=tmp_path)
    assert "Retrieval on folder, split 1 (%)" in retrieval.stdout, retrieval.stderr
    linear = process("evaluate", "--task", "linear", cwd=tmp_path)
    assert "Linear probe on folder" in linear.stdout
    assert "features" not in linear.stderr  # the stores are used again

    more = process("train", "--resume", cwd=tmp_path)
    assert "8 steps of 4 videos, all of which are done" in more.stdout
    wrong = refused("train", "--resume", "--set", "optim.lr=9", cwd=tmp_path)
    assert "--set optim.lr=9 differs from" in wrong


def test_mistakes_are_one_message(tmp_path, shards, make_video):
    assert "There is no folder data/ucf101" in refused("build", "ucf101", cwd=tmp_path)
    assert "'kinetics' is not one of" in refused("build", "kinetics", cwd=tmp_path)
    assert "No shards in shards" in refused("train", cwd=tmp_path)
    assert "No trained run in runs/" in refused("evaluate", cwd=tmp_path)
    assert "no recipe 'x'" in refused("train", shards, "--recipe", "x", cwd=tmp_path)
    assert "no setting optim.x" in refused("train", shards, "--set", "optim.x=1", cwd=tmp_path)
    no_such = refused("train", shards, "--set", "model.backbone=i3d", cwd=tmp_path)
    assert "'i3d', which this version does not have" in no_such
    assert "no/weights.pth" in refused("train", shards, "--init", "no/weights.pth", cwd=tmp_path)
    assert "cannot be read" in refused("train", "http://127.0.0.1:9/shards", cwd=tmp_path)
    assert "{} there" in refused("train", "pipe:cat shards", cwd=tmp_path)
    assert not (tmp_path / "runs").exists()
    make_video(tmp_path / "videos" / "a.avi", frames=3)
    words = ["build", "folder", "--source", "videos"]
    run_ascnet(*words, cwd=tmp_path)
    changed = refused(*words, "--short-side", 64, cwd=tmp_path)
    assert "short_side = 128, and now it is 64" in changed
    rebuilt = run_ascnet(*words, "--short-side", 64, "--overwrite", cwd=tmp_path)
    assert "1 expected, 1 built" in rebuilt.stdout


USAGE = [
    (["biuld"], "There is no command 'biuld'. Did you mean build?"),
    (["build", "UCF-101"], "Did you mean ucf101?"),
    (["fetch", "ufc101"], "Did you mean ucf101?"),
    (["build", "folder", "--name", "a/b"], "--name is 'a/b'"),
    (["evaluate", "--task", "retreival"], "Did you mean retrieval?"),
    (["evaluate", "--device", "gpu"], "--device is 'gpu'"),
    (["train", "--recipe", "demmo"], "Did you mean demo?"),
    (["train", "--recipe", "own"], "Did you mean own.toml?"),
    (["train", "--set", "steps=20"], "Did you mean optim.steps?"),
    (["train", "--set", "optim.steps=many"], "it takes a whole number"),
    (["train", "--set", "optim=3"], "Set one of them: optim.batch"),
    (["train", "--steps", "20"], "--steps is a setting; write --set optim.steps=20."),
    (["train", "--batch-size=8"], "write --set optim.batch=8."),
    (["train", "--resum"], "'--resume'"),
    (["train", ""], "is empty; name a file or folder"),
    (["embed", "--shards", ""], "is empty; name a file or folder"),
    (["embed", ""], "is empty; name a file or folder"),
    (["build", "folder", "--source", ""], "is empty; name a file or folder"),
    (["build", "folder", "--out="], "is empty; name a file or folder"),
    (["build", "folder", "vid"], "'vid' is one argument too many. The folder of the videos"),
    (["build", "ucf101", "hmdb51"], "Build one data set at a time."),
    (["build", "."], "'.' is a folder. To build it: ascnet build folder --source ."),
    (["build", "x/ucf101"], "To build it: ascnet build ucf101 --source x/ucf101"),
    (["build", ""], "'' is not one of"),
    (["train", "a", "--set", "b=1", "c=2"], "Write --set before each setting: --set c=2"),
    (["build", "folder", "--short-side", "x"], "'x' is not a valid integer."),
    (["train", "a", "b"], "'b' is one argument too many. SHARDS is one place"),
    (["train", "--set", "=3"], "--set =3 has no key before the '='"),
]


@pytest.mark.parametrize(("words", "said"), USAGE, ids=lambda value: " ".join(value)[:30])
def test_what_cannot_be_asked_is_status_2_and_names_what_is_near(words, said, tmp_path):
    (tmp_path / "own.toml").write_text("")
    (tmp_path / "x" / "ucf101").mkdir(parents=True)
    result = run_ascnet(*words, cwd=tmp_path)
    assert result.returncode == 2 and said in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--layer", "nix"], "no layer 'nix'"),
        (["--split", "9"], "in split 9"),
        (["--dataset", "foldr"], "Did you mean folder?"),
        (["--factor", "nix"], "no known factor 'nix'"),
        (["--checkpoint", "3"], "no checkpoint of step 3"),
    ],
)
def test_a_name_that_is_none_of_those_there_are_is_status_2(option, said, finished_run, tmp_path):
    result = run_ascnet("evaluate", "--run", finished_run, *option, cwd=tmp_path)
    assert result.returncode == 2 and said in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["near-duplicates", "x.h5", "--html", "x.html", "--source", "nix"], "no folder nix."),
        (["select", "x.h5", "--count", "1", "--out", "."], "--out is ., a folder; name a file."),
        (["build", "folder", "--source", "nix"], "There is no folder nix."),
        (["build", "folder", "--source", ".", "--without", "nix.csv"], "nix.csv: No such file"),
        (["verify", "nix"], "No shards in nix"),
        (["train", "--recipe", "none.toml"], "there is no recipe file none.toml."),
    ],
)
def test_files_that_are_not_there_are_status_1(words, said, make_video, tmp_path):
    make_video(tmp_path / "a.avi", frames=3)
    result = run_ascnet(*words, cwd=tmp_path)
    assert result.returncode == 1 and said in result.stderr, result.stderr


def test_work_goes_on_if_nobody_reads_what_it_prints(make_video, tmp_path):
    make_video(tmp_path / "in" / "a.avi", frames=3)
    read, write = os.pipe()
    os.close(read)
    words = ["build", "folder", "--source", "in", "--name", "x"]
    done = subprocess.run(
        [Path(sys.executable).with_name("ascnet"), *words],
        check=False,
        cwd=tmp_path,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shards" / "x" / "dataset.json").is_file()


def test_a_path_below_the_home_is_expanded_in_an_option_too(tmp_path):
    (tmp_path / "vid").mkdir()
    here = run_ascnet("build", "folder", "--source", "./~/vid", cwd=tmp_path, HOME=str(tmp_path))
    assert "There is no folder ~/vid" in here.stderr
    words = ["build", "folder", "--source=~/vid", "--out", tmp_path / "out"]
    assert (
        f"No video below {tmp_path / 'vid'}"
        in run_ascnet(*words, cwd=tmp_path, HOME=str(tmp_path)).stderr
    )


def test_what_fails_is_status_1(tmp_path):
    for words in (["build", "ucf101"], ["train", "none"], ["report", "none"], ["verify", "none"]):
        assert run_ascnet(*words, cwd=tmp_path).returncode == 1, words


def test_a_package_of_the_same_name_is_named(tmp_path):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    command = [sys.executable, "-m", "ascnet", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    message = done.stderr
    assert "ascnet needs its own package `evaluate`" in message
    assert str(tmp_path / "evaluate") in message
    assert len(message.strip().splitlines()) == 1


def test_a_package_in_an_environment_inside_the_project_is_another_one(monkeypatch):
    other = Path(cli.__file__).resolve().parent.parent / ".venv" / "trainer" / "__init__.py"
    real = cli.find_spec

    def find(name: str) -> object:
        return SimpleNamespace(origin=str(other)) if name == "trainer" else real(name)

    monkeypatch.setattr(cli, "find_spec", find)
    assert f"would import {other.parent}" in cli.clash()


def test_progress_in_a_log(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    with ProgressBar("building", "videos") as progress:
        for done in range(1, 6):
            progress(done, 5, "x")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("building 5/5 videos, ")


def test_progress_counts_anew_when_another_pass_begins(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    with ProgressBar("features", "videos") as progress:
        for text in ("trained", "untrained"):
            time.sleep(0.2)
            for done in (8, 16):
                progress(done, 16, text)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("0 s left  trained") and second.endswith("0 s left  untrained")
    assert float(second.split(", ")[1].split()[0]) > 100  # the pause is not counted


def test_slow_progress_is_told_by_the_minute(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with ProgressBar("measuring", "cells") as progress:
        progress(3, 6, "")
        now[0] += 60
        progress(5, 6, "x")
    assert capsys.readouterr().err == "measuring 5/6 cells, 2.0 a minute, 30 s left  x\n"


def test_long_work_that_has_nothing_to_say_shows_that_it_goes_on(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with ProgressBar("training", "steps") as progress:
        for done in (1, 2, 3):
            progress(done, 100, "")
            now[0] += 45
    assert capsys.readouterr().err == "training 3/100 steps, 1.3 a minute, 4365 s left\n"


@pytest.mark.parametrize("resumed_at", [0, 3])
def test_progress_on_a_terminal(capsys, monkeypatch, resumed_at):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressBar("building", "videos") as progress:
        for done in range(resumed_at + 1, 6):
            progress(done, 5, "a video")
            time.sleep(0.11)
    text = capsys.readouterr().err
    assert "5/5" in text and "a video" in text and "videos/s" in text


def test_a_narrow_terminal_shows_the_first_numbers_whole():
    text = "std 80/60%, rank 70/5%, speed R² 12%, loss 1.234, ACP 1.000"
    assert progress._fitting(text, 200) == text
    assert progress._fitting(text, 41) == "std 80/60%, rank 70/5%, speed R² 12%"
    assert progress._fitting(text, 35) == "std 80/60%, rank 70/5%"
    assert progress._fitting(text, 3) == "std 80/60%"


@pytest.mark.parametrize("columns", [80, 120])
def test_progress_on_a_terminal_is_a_line_of_its_width(columns):
    """The numbers to watch are seen in 80 columns, with the steps and hours of a long run."""
    code = (
        "from ascnet.progress import ProgressBar\n"
        "text = 'std 80/60%, rank 70/55%, speed R² 12%, loss 1.234, ACP 1.000, SCP 0.123, "
        "correlation 0.12, 1234 clips/s, data wait 12%, 123.45 h for all 12345 steps'\n"
        "with ProgressBar('training', 'steps') as progress:\n"
        "    for done in range(12340, 12346): progress(done, 12345, text)\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
    os.close(theirs)
    lines = os.read(ours, 1 << 16).decode().replace("\n", "").split("\r")
    os.close(ours)
    last = [line.rstrip() for line in lines if line.strip()][-1]
    assert last.startswith("training 12345/12345 00:00 left  std 80/60%, rank 70/55%, speed R² 12%")
    assert len(last) < columns
    assert ("loss" in last) == (columns == 120)


def test_a_terminal_that_is_gone_ends_no_work(monkeypatch):
    def gone(*text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for is_terminal in (False, True):
        theirs = SimpleNamespace(isatty=lambda own=is_terminal: own, write=gone, flush=gone)
        monkeypatch.setattr(sys, "stderr", theirs)
        with ProgressBar("training", "steps") as telling:
            for done in range(3):
                telling(done, 2, "loss 1.0")


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("3", "3")])
def test_threads_keep_to_what_a_container_allows(monkeypatch, given, threads):
    monkeypatch.setattr("builder.cores.cpu_limit", lambda: 1.0)
    monkeypatch.setattr(cli.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    cli._keep_to_the_cores()
    assert os.environ["OMP_NUM_THREADS"] == threads
