"""Drills with full and read-only disks, disks without hard links and locks, a small /dev/shm."""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.drills.disturb import Expected, fresh, judged, repeated
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome, Try, not_tried, tally
from tests.drills.scene import ascnet, begin_alone, end_of, silent_failure

ROOM = "256m"
# Fails hard links and locks, as exFAT does.
_SOURCE = Path(__file__).with_name("no_links_and_locks.c")
_SMALL = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
_PRIVATELY = ("unshare", "-m", "--propagation", "private", "sh", "-c")


class CannotMountError(Exception):
    """This machine does not let us mount file systems."""


def _run(*words: object) -> str:
    """Run a program that must succeed; return its output. Raises AssertionError if it fails."""
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True)
    assert done.returncode == 0, f"{words[0]} failed: {done.stderr.decode().strip()}"
    return done.stdout.decode().strip()


def _try_to(*words: object) -> str:
    """Run a program that prepares a mount, or mounts. Raises CannotMountError."""
    try:
        return _run(*words)
    except (OSError, AssertionError) as error:
        raise CannotMountError(f"no {words[0]} here") from error


@contextmanager
def in_memory(where: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of a given size. Raises CannotMountError, and AssertionError if it cannot be
    unmounted."""
    where.mkdir(parents=True, exist_ok=True)
    _try_to("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)


@contextmanager
def exfat(where: Path, image: Path) -> Iterator[Path]:
    """Mount an exFAT file system of 256 MiB in a file. Raises CannotMountError, and AssertionError
    if it cannot be unmounted."""
    where.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(256 << 20)
    try:
        _try_to("mkfs.exfat", image)
        device = _try_to("losetup", "-f", "--show", image)
        try:
            _try_to("mount.exfat-fuse", device, where)
            try:
                yield where
            finally:
                _run("umount", "-l", where)
        finally:
            _run("losetup", "-d", device)
    finally:
        image.unlink()


def full_disk(
    job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Start the job with less free disk space than it needs; then free space and repeat the
    command."""

    def size(disk: Path) -> str:
        return f"size={_used(disk) + int(rng.uniform(0, expected.room))}k"

    return _hindered("disk full", job, expected, folder, tries, size)


def read_only(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Start the job on a read-only disk; then make it writable and repeat the command."""
    return _hindered("read-only disk", job, expected, folder, 1, lambda disk: "ro")


def _hindered(
    name: str,
    job: Job,
    expected: Expected,
    folder: Path,
    tries: int,
    hindrance: Callable[[Path], str],
) -> Outcome:
    """Run the job on a disk that is mounted again with an option that hinders it, then without. A
    first run that succeeds was not hindered."""

    def once() -> Try:
        with in_memory(folder, ROOM) as disk:
            job.prepare(disk)
            _run("mount", "-o", f"remount,{hindrance(disk)}", disk)
            first = ascnet(*job.words, cwd=disk)
            _run("mount", "-o", f"remount,rw,size={ROOM}", disk)
            if not first.returncode:
                return Try(hit=False)
            return repeated(job, expected, disk, silent_failure(first))

    name = f"{name}: {job.name}"
    try:
        return tally(name, tries, once)
    except CannotMountError as error:
        return not_tried(name, error)


def without_links_and_locks(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Run the job on exFAT, which has no hard links and no locks; where that cannot be mounted,
    with a library that fails both."""

    def once() -> Try:
        with exfat(folder, folder.with_suffix(".image")) as disk:
            job.prepare(disk)
            return repeated(job, expected, disk)

    try:
        return tally(f"exFAT: {job.name}", 1, once)
    except CannotMountError:
        return _simulated(job, expected, folder)


def _simulated(job: Job, expected: Expected, folder: Path) -> Outcome:
    name = f"exFAT, simulated: {job.name}"
    if not (compiler := shutil.which("cc")):
        return not_tried(name, "no C compiler here")
    fresh(job, folder)
    library = folder.with_suffix(".so")
    _run(compiler, "-shared", "-fPIC", "-o", library, _SOURCE)
    process = begin_alone(*job.words, cwd=folder, LD_PRELOAD=str(library))
    return tally(name, 1, lambda: judged(job, expected, folder, end_of(process)))


def small_shared_memory(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Run the job with a /dev/shm of 64 KiB, which no other process sees."""
    name = f"/dev/shm of 64 KiB: {job.name}"
    try:
        _try_to(*_PRIVATELY, _SMALL)
    except CannotMountError as error:
        return not_tried(name, error)
    fresh(job, folder)
    before = (*_PRIVATELY, f'{_SMALL} && exec "$@"', "sh")
    process = begin_alone(*job.words, cwd=folder, before=before)
    return tally(name, 1, lambda: judged(job, expected, folder, end_of(process)))


def _used(disk: Path) -> int:
    """Used space in KiB."""
    return int(_run("df", "--output=used", "-k", disk).split()[-1])
