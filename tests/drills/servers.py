"""Drills with a slow and unreliable server, killed downloads, and a damaged shard."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from builder.download import official
from builder.download.fetch import FetchSettings, fetch
from builder.download.http import DownloadSettings
from builder.download.official import UCF101
from tests.builder.download.archives import LISTS, RAR, VIDEOS, ZIP, files_in, rar_of, tool, zip_of
from tests.builder.download.server import serve
from tests.drills.disturb import Expected, drill, fresh
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome
from tests.drills.scene import Scene, ascnet, begin, is_a_sentence
from tests.processes import start


@contextmanager
def bad_server(folder: Path, rng: random.Random) -> Iterator[str]:
    """Serve a folder in small chunks; one response in four breaks off, or is an error."""
    lock = threading.Lock()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            with lock:
                self.fate = rng.random()
            if self.fate < 0.05:
                self.send_error(503)
            else:
                super().do_GET()

        def copyfile(self, source, outputfile) -> None:
            content = source.read()
            if self.fate < 0.25:
                content = content[: int(len(content) * self.fate * 4)]
            with suppress(ConnectionError):  # the reader stopped before the end
                for start in range(0, len(content), 16_384):
                    outputfile.write(content[start : start + 16_384])
                    time.sleep(0.002)

    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def slow_and_broken(
    scene: Scene, job: Job, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Run `job`, a training on streamed local shards, from a bad server: the losses must be the
    same."""
    lost = wrong = 0
    notes: list[str] = []
    for _ in range(tries):
        fresh(job, folder)
        with bad_server(scene.shards, rng) as url:
            words = [url if word == scene.shards else word for word in job.words]
            done = ascnet(*words, cwd=folder)
        lost += done.returncode != 0
        if done.returncode:
            wrong += not is_a_sentence(done)
            notes.append(done.stderr.strip()[-120:])
        else:
            wrong += _losses(folder) != _losses(folder.parent / "undisturbed")
    return Outcome(f"slow and broken HTTP: {job.name}", tries, lost, wrong, "; ".join(notes))


def _losses(folder: Path) -> list[float]:
    """The exact losses in a run's log."""
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def damaged_shard(
    scene: Scene, job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Damage a shard while it is trained on; then restore it and repeat the command."""
    said_badly: list[str] = []

    def disturb() -> None:
        path = rng.choice(sorted(scene.shards.glob("*.tar")))
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        for _ in range(2000):
            spoilt[rng.randrange(512, len(spoilt))] = rng.randrange(256)
        process = begin(*job.words, cwd=folder)
        time.sleep(rng.uniform(0, expected.seconds))
        path.write_bytes(spoilt)
        done = process.end(600)
        path.write_bytes(whole)
        if done.returncode and not is_a_sentence(done):
            said_badly.append(done.stderr[-120:])

    outcome = drill("damaged shard", job, expected, folder, tries, disturb)
    wrong = outcome.wrong + len(said_badly)
    note = "; ".join([*said_badly, outcome.note]).strip("; ")
    return Outcome(outcome.drill, tries, outcome.lost, wrong, note)


def fetching(url: str, folder: Path, programs: Path) -> None:
    """Fetch the toy UCF-101 of four videos from a server."""
    official.PUBLISHED.clear()  # checksums of the official archives
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    settings = FetchSettings(url, download=DownloadSettings(tries=2, pause=0.001))
    fetch(UCF101, folder, settings, ())


def killed_fetch(folder: Path, rng: random.Random, tries: int) -> Outcome:
    """Kill a download and its unpacking at random moments."""
    folder.mkdir(parents=True)
    tool(folder)
    lost = wrong = 0
    videos = {name: content * 20_000 for name, content in VIDEOS.items()}
    with serve() as server:
        server.files |= {RAR: rar_of(videos), ZIP: zip_of(LISTS)}
        server.tags |= {RAR: '"1"', ZIP: '"2"'}
        seconds = 0.0
        for number in range(-1, tries):
            out = folder / f"try{number}"
            kills = 0 if number < 0 else rng.randint(1, 3)
            for _ in range(kills):
                process = start(fetching, server.url, out, folder, cwd=folder)
                time.sleep(rng.uniform(0, seconds))
                if process.runs():
                    os.kill(process.pid, signal.SIGKILL)
                process.end()
            began = time.monotonic()
            done = start(fetching, server.url, out, folder, cwd=folder).end()
            seconds = seconds or time.monotonic() - began
            there = {n: c for n, c in files_in(out).items() if not n.startswith(".")}
            lost += done.returncode != 0
            wrong += done.returncode == 0 and there != videos | LISTS
    return Outcome("killed: fetch", tries, lost, wrong)
