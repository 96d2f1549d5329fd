"""Drills with killed downloads."""

import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

from tests.builder.download.archives import LISTS, RAR, VIDEOS, ZIP, files_in, rar_of, tool, zip_of
from tests.builder.download.server import Server, serve
from tests.drills.disturb import different
from tests.drills.fetching import fetching
from tests.drills.outcome import Outcome, Try, tally
from tests.drills.scene import said_by, silent_failure
from tests.processes import Running, start


def killed_fetch(folder: Path, rng: random.Random, tries: int) -> Outcome:
    """Kill a download and its unpacking at random moments after its first request."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tool(folder)
    videos = {name: content * 20_000 for name, content in VIDEOS.items()}
    with serve() as server:
        server.files |= {RAR: rar_of(videos), ZIP: zip_of(LISTS)}
        server.tags |= {RAR: '"1"', ZIP: '"2"'}
        server.pause = 0.02
        out = folder / "out"
        begin_fetch = partial(start, fetching, server.url, out, folder, cwd=folder)

        def once(kills: int) -> Try:
            shutil.rmtree(out, ignore_errors=True)
            hits = [_kill(begin_fetch(), server, rng.uniform(0, seconds)) for _ in range(kills)]
            if not any(hits):
                return Try(hit=False)
            done = begin_fetch().end()
            if done.returncode:
                return Try(lost=said_by(done), wrong=silent_failure(done))
            there = {n: c for n, c in files_in(out).items() if not n.startswith(".")}
            return Try(wrong=different(videos | LISTS, there))

        seconds = _duration(begin_fetch(), server)
        return tally("killed: fetch", tries, lambda: once(rng.randint(1, 3)))


def _duration(process: Running, server: Server) -> float:
    """Seconds from the first request of a fetch to its end."""
    _wait_for_request(process, server)
    began = time.monotonic()
    done = process.end()
    assert done.returncode == 0, said_by(done)
    return time.monotonic() - began


def _kill(process: Running, server: Server, after: float) -> bool:
    """Kill a fetch `after` seconds after its first request. Returns whether it still ran."""
    _wait_for_request(process, server)
    time.sleep(after)
    if ran := process.runs():
        os.kill(process.pid, signal.SIGKILL)
    process.end()
    return ran


def _wait_for_request(process: Running, server: Server) -> None:
    """Wait until a fetch asks for a file, or ends, as it has all of them."""
    before = len(server.asked)
    while process.runs() and len(server.asked) == before:
        time.sleep(0.001)
