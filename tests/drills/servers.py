"""Drills with a slow and unreliable server, and with a damaged shard."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.drills.disturb import Blow, Expected, drill, fresh, judged
from tests.drills.jobs import Job
from tests.drills.outcome import Outcome, Try, tally
from tests.drills.scene import Scene, ascnet, begin, silent_failure

_ERRORS, _BREAKS = 0.05, 0.25  # fates below these are errors, or break off


def fate_of(seed: str, path: str, number: int) -> float:
    """What happens to the request of a path with this number, in [0, 1). It does not depend on the
    requests of other paths, which may come in any order."""
    return random.Random(f"{seed}/{path}/{number}").random()


@contextmanager
def bad_server(folder: Path, seed: str) -> Iterator[str]:
    """Serve a folder in small chunks; one response in four breaks off, or is an error."""
    lock, asked = threading.Lock(), Counter[str]()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Log nothing."""

        def do_GET(self) -> None:
            with lock:
                asked[self.path] += 1
                self.fate = fate_of(seed, self.path, asked[self.path])
            if self.fate < _ERRORS:
                self.send_error(503)
            else:
                super().do_GET()

        def copyfile(self, source, outputfile) -> None:
            content = source.read()
            if self.fate < _BREAKS:
                content = content[: int(len(content) * self.fate / _BREAKS)]
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
    scene: Scene, job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Run `job`, a training on streamed local shards, from a bad server: the result must be the
    same."""

    def once() -> Try:
        fresh(job, folder)
        with bad_server(scene.shards, str(rng.random())) as url:
            words = [url if word == scene.shards else word for word in job.words]
            return judged(job, expected, folder, ascnet(*words, cwd=folder))

    return tally(f"slow and broken HTTP: {job.name}", tries, once)


def damaged_shard(
    scene: Scene, job: Job, expected: Expected, folder: Path, rng: random.Random, tries: int
) -> Outcome:
    """Damage a shard while it is trained on; then restore it and repeat the command."""

    def disturb() -> Blow:
        path = rng.choice(sorted(scene.shards.glob("*.tar")))
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        for _ in range(2000):
            spoilt[rng.randrange(512, len(spoilt))] = rng.randrange(256)
        process = begin(*job.words, cwd=folder)
        try:
            time.sleep(rng.uniform(0, expected.seconds))
            ran = process.runs()
            path.write_bytes(spoilt)
            done = process.end(600)
        finally:
            path.write_bytes(whole)
        return Blow(ran, silent_failure(done))

    return drill("damaged shard", job, expected, folder, tries, disturb)
