"""Drills with full and read-only disks, disks without hard links and locks, a small /dev/shm."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.drills.disturb import Expected, fresh
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome
from tests.drills.scene import ascnet, is_a_sentence

ROOM = "256m"


class CannotMountError(Exception):
    """This machine does not let us mount file systems."""


def _run(*words: object) -> str:
    try:
        done = subprocess.run([str(word) for word in words], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMountError(str(words[0])) from error
    return done.stdout.decode().strip()


@contextmanager
def in_memory(where: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of a given size. Raises CannotMountError."""
    where.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)


@contextmanager
def exfat(where: Path, image: Path) -> Iterator[Path]:
    """Mount an exFAT file system of 256 MiB in a file. Raises CannotMountError."""
    where.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(256 << 20)
    _run("mkfs.exfat", image)
    device = _run("losetup", "-f", "--show", image)
    try:
        _run("mount.exfat-fuse", device, where)
        try:
            yield where
        finally:
            _run("umount", "-l", where)
    finally:
        _run("losetup", "-d", device)
        image.unlink()


def full_disk(job: Job, expected: Expected, folder: Path, fill: int) -> Outcome:
    """Start the job with `fill` KiB of free disk space; then free space and repeat the command."""
    return _hindered("disk full", job, expected, folder, lambda disk: f"size={_used(disk) + fill}k")


def read_only(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Start the job on a read-only disk; then make it writable and repeat the command."""
    return _hindered("read-only disk", job, expected, folder, lambda disk: "ro")


def _hindered(
    name: str, job: Job, expected: Expected, folder: Path, hindrance: Callable[[Path], str]
) -> Outcome:
    """Run the job on a disk that is mounted again with an option that hinders it, then without."""
    name = f"{name}: {job.name}"
    try:
        with in_memory(folder, ROOM) as disk:
            fresh_in(job, disk)
            _run("mount", "-o", f"remount,{hindrance(disk)}", disk)
            first = ascnet(*job.words, cwd=disk)
            _run("mount", "-o", f"remount,rw,size={ROOM}", disk)
            return _and_again(name, job, expected, disk, is_a_sentence(first), first.stderr)
    except CannotMountError as error:
        return Outcome(name, 0, 0, 0, f"not tried: no {error} here")


def without_links_and_locks(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Run the job on exFAT, which has no hard links."""
    name = f"exFAT: {job.name}"
    try:
        with exfat(folder, folder.with_suffix(".image")) as disk:
            fresh_in(job, disk)
            return _and_again(name, job, expected, disk, True, "")
    except CannotMountError as error:
        return Outcome(name, 0, 0, 0, f"not tried: no {error} here")


def small_shared_memory(job: Job, expected: Expected, folder: Path) -> Outcome:
    """Run the job with a /dev/shm of 64 KiB."""
    name = f"/dev/shm of 64 KiB: {job.name}"
    fresh(job, folder)
    try:
        with in_memory(Path("/dev/shm"), "64k"):
            return _and_again(name, job, expected, folder, True, "")
    except CannotMountError as error:
        return Outcome(name, 0, 0, 0, f"not tried: no {error} here")


def fresh_in(job: Job, disk: Path) -> None:
    """Prepare the job on a disk, which is not emptied, as it is a mount point."""
    job.prepare(disk)


def _used(disk: Path) -> int:
    """Used space in KiB."""
    return int(_run("df", "--output=used", "-k", disk).split()[-1])


def _and_again(
    name: str, job: Job, expected: Expected, folder: Path, was_said: bool, said: str
) -> Outcome:
    """Repeat the command: its result must equal that of an undisturbed run."""
    done = ascnet(*job.words, cwd=folder)
    lost = done.returncode != 0
    wrong = not was_said or (lost and not is_a_sentence(done))
    wrong |= not lost and job.result(folder) != expected.result
    note = "" if was_said else f"said: {said.strip()[-120:]}"
    if lost:
        note = done.stderr.strip()[-120:]
    return Outcome(name, 1, int(lost), int(wrong), note)
