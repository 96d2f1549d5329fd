"""Each drill once, on short commands; and that a drill sees what is lost and what is wrong."""

import random
import signal
from dataclasses import replace
from functools import partial

import pytest

from tests.conftest import write_video
from tests.drills import disks, downloads, flat, interrupts, limits, servers
from tests.drills.disturb import Blow, Expected, drill, stopped, undisturbed
from tests.drills.jobs import Job, jobs_of, newest_job
from tests.drills.outcome import Outcome, Try, not_tried, notes, table, tally
from tests.drills.page import put
from tests.drills.plan import Drill, rng_of
from tests.drills.run_all import outcomes
from tests.drills.scene import Scene, set_up


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return set_up(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> tuple[Job, Expected]:
    """The job that needs no other before it, with few videos, and what it makes."""
    root = tmp_path_factory.mktemp("videos")
    for pattern in ("smptebars", "testsrc"):
        for number in range(2):
            write_video(root / pattern / f"{number}.avi", frames=20, pattern=pattern)
    job = jobs_of(Scene(root, root, root, root))[0]
    return job, undisturbed(job, tmp_path_factory.mktemp("build") / "x", runs=1)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(0)


def is_well(outcome: Outcome) -> None:
    assert (outcome.lost, outcome.wrong) == (0, 0), outcome.note
    assert outcome.tries or outcome.note.startswith("not tried"), outcome


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_build_that_is_stopped(build, rng, number, tmp_path):
    disturb = partial(stopped, *build, tmp_path / "x", rng, number)
    is_well(drill(number.name, *build, tmp_path / "x", 1, disturb))


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(
            lambda job, expected, folder, rng: interrupts.interrupted(
                job, expected, folder, rng, 1
            ),
            marks=pytest.mark.slow,
        ),
        lambda job, expected, folder, rng: limits.two_at_once(job, expected, folder, rng, 1),
        lambda job, expected, folder, rng: limits.few_handles(job, expected, folder),
        lambda job, expected, folder, rng: disks.full_disk(job, expected, folder, rng, 1),
        lambda job, expected, folder, rng: disks.read_only(job, expected, folder),
        lambda job, expected, folder, rng: disks.without_links_and_locks(job, expected, folder),
        lambda job, expected, folder, rng: disks.small_shared_memory(job, expected, folder),
    ],
    ids=["Ctrl-C", "two", "handles", "full", "read-only", "exFAT", "shm"],
)
def test_a_build_that_is_disturbed(run, build, rng, tmp_path):
    is_well(run(*build, tmp_path / "x", rng))


@pytest.mark.slow
def test_a_build_before_which_the_clock_was_set_back(build, rng, tmp_path):
    job, expected = build
    videos = job.words[3]
    before = {path: path.stat().st_mtime for path in videos.rglob("*")}
    scene = Scene(videos, videos, videos, videos)
    is_well(limits.clock_set_back(scene, job, expected, tmp_path / "x", rng, 1))
    assert before == {path: path.stat().st_mtime for path in videos.rglob("*")}


def test_a_killed_download(rng, tmp_path):
    is_well(downloads.killed_fetch(tmp_path / "fetch", rng, 1))


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_killed_and_given_again(scene, rng, number, tmp_path):
    job = jobs_of(scene)[number]
    expected = undisturbed(job, tmp_path / "undisturbed")
    disturb = partial(stopped, job, expected, tmp_path / "x", rng, signal.SIGKILL)
    is_well(drill("killed", job, expected, tmp_path / "x", 1, disturb))
    is_well(limits.few_handles(job, expected, tmp_path / "x"))


@pytest.mark.slow
def test_a_streamed_training(scene, rng, tmp_path):
    job = next(job for job in jobs_of(scene) if job.name == "train, streamed")
    expected = undisturbed(job, tmp_path / "undisturbed")
    is_well(interrupts.interrupted(job, expected, tmp_path / "x", rng, 2))
    is_well(servers.slow_and_broken(scene, job, expected, tmp_path / "x", rng, 1))
    is_well(servers.damaged_shard(scene, job, expected, tmp_path / "x", rng, 1))


@pytest.mark.slow
def test_a_long_training(scene, tmp_path):
    is_well(flat.from_folder(scene, tmp_path / "flat", 300, flat.Allowed(1, 16 << 20)))
    is_well(flat.from_server(scene, tmp_path / "flat", 100, flat.Allowed(3, 32 << 20)))


@pytest.mark.slow
def test_the_newest_run_and_store(scene, rng, tmp_path):
    job = newest_job(scene)
    expected = undisturbed(job, tmp_path / "undisturbed")
    is_well(limits.clock_set_back(scene, job, expected, tmp_path / "x", rng, 1))


def test_memory_and_files_that_grow():
    def outcome(memory: int, files: int) -> int:
        seen = [flat.Sample(s, 10**8 + memory * s, 20 + files * (s > 900)) for s in range(1000)]
        return flat.judge("x", seen, 1000, flat.NOTHING).wrong

    assert [outcome(0, 0), outcome(1000, 0), outcome(6000, 0), outcome(0, 1)] == [0, 0, 1, 1]
    assert flat.judge("x", [], 1000, flat.NOTHING).wrong == 1


def test_what_differs_is_wrong_and_what_fails_is_lost(tmp_path):
    job = Job("info", ("--version",), lambda folder: {p.name: 0 for p in folder.iterdir()})
    expected = Expected({}, 0)

    def outcome_of(job: Job, left: str = "") -> Outcome:
        def disturb() -> Blow:
            if left:
                (tmp_path / "x" / left).touch()
            return Blow(hit=True)

        return drill("x", job, expected, tmp_path / "x", 2, disturb)

    assert outcome_of(job) == Outcome("x: info", 2, 0, 0)
    assert outcome_of(job, "y") == Outcome("x: info", 2, 0, 2, "another result: y")
    assert "left over: y.partial" in outcome_of(job, "y.partial").note
    failing = outcome_of(replace(job, words=("info", "nowhere")))
    assert (failing.lost, failing.wrong) == (2, 0) and "nowhere" in failing.note


def test_a_try_that_comes_too_late_does_not_count():
    tries = iter([Try(hit=False), Try(hit=False), Try(), Try(lost="x"), Try(wrong="y | z")])
    outcome = tally("a", 3, lambda: next(tries))
    assert outcome == Outcome("a", 3, 1, 1, "x; y | z")
    assert tally("a", 2, lambda: Try(hit=False)) == Outcome("a", 0, 0, 1, "never hit")


def test_the_page(tmp_path):
    done = [
        Outcome("a: b", 2, 0, 1, f"in {tmp_path}/x\na | b"),
        Outcome("c", 4, 0, 0),
        not_tried("d", "no e here"),
    ]
    assert table(done).splitlines()[2:] == [
        "| a: b | 2 | 0 | 1 |",
        "| c | 4 | 0 | 0 |",
        "| d | – | – | – |",
    ]
    listed = notes(done, tmp_path)
    assert listed == "- a: b: in x a \\| b\n- d: not tried: no e here"
    page = tmp_path / "page.md"
    page.write_text("Before\n\n<!-- drills -->\nold\n<!-- /drills -->\n\nAfter\n")
    put(page, "new")
    put(page, "new")
    wanted = "Before\n\n<!-- drills -->\n\nnew\n\n<!-- /drills -->\n\nAfter\n"
    assert page.read_text() == wanted
    page.write_text("Before")
    with pytest.raises(ValueError, match="markers"):
        put(page, "new")


def test_a_drill_that_fails_is_wrong_and_the_next_one_follows():
    def broken(rng: random.Random) -> Outcome:
        raise OSError("no disk")

    drills = [
        Drill("killed: x", broken),
        Drill("killed: y", lambda rng: Outcome("killed: y", 1, 0, 0, str(rng.random()))),
    ]
    first, second = outcomes(drills, 0)
    assert first == Outcome("killed: x", 0, 0, 1, "OSError: no disk")
    assert [second] == list(outcomes(drills, 0, only=["y"]))  # with the same random numbers
    assert rng_of(0, "killed: y").random() == random.Random("0/killed/y").random()
