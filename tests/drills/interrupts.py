"""Ctrl-C, as a terminal sends it: SIGINT to the command and all processes that it started, at a
random moment, imports included."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.drills.disturb import Expected, fresh
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome
from tests.drills.scene import ascnet

STARTED = 0.3  # seconds after which Python itself has surely started
IMPORTS = 6.0  # seconds that a start takes at most, as it has to import torch
INTERRUPTED = 128 + signal.SIGINT


def interrupted(
    job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Interrupt the job, and repeat the command. Wrong is also a traceback, another exit status
    than 130 (or 0, if it was done), or a process that stays behind."""
    lost = wrong = 0
    notes = []
    for _ in range(tries):
        fresh(job, folder)
        moment = rng.uniform(STARTED, expected.seconds + IMPORTS)
        if problem := _interrupt(job, folder, moment):
            wrong += 1
            notes.append(f"after {moment:.2f} s {problem}")
        done = ascnet(*job.words, cwd=folder)
        if done.returncode:
            lost += 1
        elif job.result(folder) != expected.result:
            wrong += 1
            notes.append("another result")
    return Outcome(f"Ctrl-C: {job.name}", tries, lost, wrong, "; ".join(dict.fromkeys(notes)))


def _interrupt(job: Job, folder: Path, moment: float) -> str:
    """What is wrong with how the command ended; "": nothing."""
    command = [sys.executable, "-m", "ascnet", *map(str, job.words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "no_proxy": "*"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(moment)
    with suppress(ProcessLookupError):  # it was done before
        os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "it still ran after a minute"
    if "Traceback" in out + err:
        return f"a traceback, {err.strip().splitlines()[-1][:80]}"
    # At its very end Python itself is ended by the signal, which a shell shows as 130, too.
    if process.returncode not in (0, INTERRUPTED, -signal.SIGINT):
        return f"exit status {process.returncode}"
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return ""
    os.killpg(process.pid, signal.SIGKILL)
    return "a process stayed behind"
