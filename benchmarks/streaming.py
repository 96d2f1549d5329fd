"""Compare streaming from an HTTP server on this machine with random access to the same shards.

All use `training_batches`, with batches of 32 samples (two clips of 16 frames) and as many threads
as there are cores, which server, curl and decoding share. Random access ("by jumping") reads only
the frames of the clips, streaming reads all frames of every video. Timing is between two batches,
while more are being read.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.loading_ways import BATCH, START
from benchmarks.side_by_side import Measured, alternate, measure, rate, ratio
from builder.build.build import BuildSettings, How, build
from builder.catalog.source import Catalog
from builder.cores import usable_cores
from trainer.config.recipe_file import load_recipe, override
from trainer.config.settings import Config
from trainer.data.batches import training_batches
from trainer.data.training_set import TrainingSet, gather, locate
from trainer.distributed import ALONE

COPIES = 3  # of every video, to fill shards of the usual size for several streams
GOAL = 0.8


def batches_of(settings: Config, data: TrainingSet, timed: int) -> Measured:
    """Measure `timed` batches, after the reader has filled its buffers."""
    first = START + settings.data.shuffle_buffer // BATCH
    every = training_batches(settings, data, 0, 2 * first + timed, ALONE, torch.device("cpu"))
    with closing(every):
        for _ in islice(every, first):
            pass
        return measure(lambda: sum(len(b.videos) // 2 for b in islice(every, timed)))


@contextmanager
def serve(folder: Path, work: Path) -> Iterator[tuple[str, str]]:
    """Serve a folder, with nginx if it is installed; yield the server's name and URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx:
        command = [nginx, "-p", str(work), "-e", "error.log", "-c", str(work / "nginx.conf")]
        (work / "nginx.conf").write_text(_config(nginx, folder, port), encoding="utf-8")
    else:
        command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
        command += ["--directory", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield "nginx" if nginx else "Python's http.server", f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _config(nginx: str, folder: Path, port: int) -> str:
    """nginx's configuration: a single process that writes only to its own folder."""
    built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=True).stderr
    modules = ("proxy", "fastcgi", "uwsgi", "scgi")
    there = [name for name in modules if f"--without-http_{name}_module" not in built]
    temporary = "".join(f"  {name}_temp_path {name};\n" for name in ("client_body", *there))
    return (
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents {}\n"
        f"http {{\n  access_log off;\n  sendfile on;\n{temporary}"
        f'  server {{ listen 127.0.0.1:{port}; root "{folder}"; }}\n}}\n'
    )


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit("The HTTP server did not start.")


def _repeated(catalog: Catalog) -> Catalog:
    copies = [replace(v, name=f"{i}/{v.name}") for i in range(COPIES) for v in catalog.videos]
    return replace(catalog, videos=tuple(copies))


def bench_streaming(catalog: Catalog, work: Path, rounds: int, seconds: float) -> None:
    """Run and print the comparison. `work` must be an empty folder."""
    shards, scratch = (work / "shards").resolve(), (work / "scratch").resolve()
    scratch.mkdir(parents=True)
    build(_repeated(catalog), shards, BuildSettings(), How(usable_cores()))
    # The clips of the recipe, but a short shuffle, as it has to be filled before every round.
    changes = (f"optim.batch={BATCH}", "data.shuffle_buffer=128", "data.split=1")
    jumping = override(load_recipe("ucf101-r3d18"), changes)
    streaming = override(jumping, ("data.streaming=true",))
    data = gather(locate([str(shards)], scratch), jumping.data)
    os.environ["no_proxy"] = "127.0.0.1"
    with serve(shards, scratch) as (name, url):
        remote = replace(data, sources=dict.fromkeys(data.sources, url))
        few = batches_of(jumping, data, 20)
        timed = max(20, round(seconds * few.rate / BATCH))
        ways = {
            f"streamed from {name}": partial(batches_of, streaming, remote, timed),
            "streamed from the folder": partial(batches_of, streaming, data, timed),
            "local, by jumping": partial(batches_of, jumping, data, timed),
        }
        runs = alternate(ways, rounds)
    size = sum(v.location.blob_bytes for v in data.videos) / len(data.videos)
    print(
        f"Streaming, {len(data.videos)} videos of {size / 1e6:.2f} MB, {usable_cores()} cores; "
        f"two-clip samples/s, medians of {rounds} rounds"
    )
    base = runs["local, by jumping"]
    for name, measured in runs.items():
        r, x = rate(measured), ratio(measured, base)
        print(
            f"  {name:<58} {r.median:8.1f} samples/s ({r.low:.1f} .. {r.high:.1f})  "
            f"{r.median * size / 1e6:6.0f} MB/s  x {x.median:.2f} ({x.low:.2f} .. {x.high:.2f})"
            + (f", goal {GOAL}" if "streamed from" in name and "folder" not in name else "")
        )
