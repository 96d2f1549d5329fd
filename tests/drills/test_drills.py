"""Each drill once, on short commands; and that a drill sees what is lost and what is wrong."""

import random
import signal
from dataclasses import replace

import pytest

from tests.drills import interrupts, limits, servers
from tests.drills.disturb import Expected, drill, stopped, undisturbed
from tests.drills.jobs import Job, jobs_of
from tests.drills.outcome import Outcome, table
from tests.drills.scene import set_up


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return set_up(tmp_path_factory.mktemp("scene"))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_killed_and_given_again(scene, number, tmp_path):
    rng = random.Random(number)
    job = jobs_of(scene)[number]
    expected = undisturbed(job, tmp_path / "undisturbed")
    folder = tmp_path / "x"
    killed = drill(
        "killed",
        job,
        expected,
        folder,
        1,
        lambda: stopped(job, expected, folder, rng, signal.SIGKILL),
    )
    assert killed == Outcome(f"killed: {job.name}", 1, 0, 0)
    assert limits.few_handles(job, expected, folder).wrong == 0


@pytest.mark.slow
def test_ctrl_c(scene, tmp_path):
    job = next(job for job in jobs_of(scene) if job.name == "train")
    expected = undisturbed(job, tmp_path / "undisturbed")
    done = interrupts.interrupted(job, expected, tmp_path / "x", random.Random(1), 2)
    assert (done.lost, done.wrong) == (0, 0), done.note


@pytest.mark.slow
def test_a_training_from_a_bad_server_and_over_a_damaged_shard(scene, tmp_path):
    rng = random.Random(0)
    job = next(job for job in jobs_of(scene) if job.name == "train, streamed")
    expected = undisturbed(job, tmp_path / "undisturbed")
    bad = servers.slow_and_broken(scene, job, tmp_path / "x", rng, 1)
    assert (bad.lost, bad.wrong) == (0, 0), bad.note
    damaged = servers.damaged_shard(scene, job, expected, tmp_path / "x", rng, 1)
    assert (damaged.lost, damaged.wrong) == (0, 0), damaged.note


@pytest.mark.slow
def test_a_killed_download_and_a_long_training(scene, tmp_path):
    assert servers.killed_fetch(tmp_path / "fetch", random.Random(0), 1).wrong == 0
    flat = limits.flat(scene, tmp_path / "flat", 150)
    assert (flat.lost, flat.wrong) == (0, 0), flat.note


def test_what_differs_is_wrong_and_what_fails_is_lost(tmp_path):
    job = Job("info", ("--version",), lambda folder: {"names": sorted(folder.iterdir())})
    expected = Expected({"names": []}, 0)
    assert drill("x", job, expected, tmp_path / "x", 2, lambda: None).wrong == 0

    def leave_a_file() -> None:
        (tmp_path / "x" / "left").touch()

    assert drill("x", job, expected, tmp_path / "x", 2, leave_a_file).wrong == 2
    failing = replace(job, words=("info", "nowhere"))
    outcome = drill("x", failing, expected, tmp_path / "x", 1, lambda: None)
    assert (outcome.lost, outcome.wrong) == (1, 0) and "nowhere" in outcome.note
    assert table([outcome]).splitlines()[2].startswith("| x: info | 1 | 1 | 0 | ")
