"""Two GPUs, the benchmark of training, and the command that the tour begins with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_table import table
from tests.commands import run_ascnet
from tests.conftest import TINY
from tests.gpu.paths import Material
from tests.gpu.real_gpu import find_gpu

GPU = find_gpu()
SETTINGS = (*TINY, "data.workers=2", "log_every=1", "optim.steps=4")


def last_loss(run: Path) -> float:
    line = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return float(json.loads(line)["loss"])


def train_and_evaluate(processes: int, shards: Path, work: Path) -> tuple[float, dict[str, float]]:
    """The last loss, and the figures of retrieval, of so many processes of `ascnet`."""
    ascnet = str(Path(sys.executable).with_name("ascnet"))
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    start = [*several, f"--nproc-per-node={processes}", "--", ascnet]
    run, device = work / "run", ["--device", GPU.type]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    for words in (
        ["train", shards, "--recipe", "demo", "--run", run, *settings],
        ["evaluate", "--shards", shards, "--run", run, "--task", "retrieval", "--no-baseline"],
    ):
        done = subprocess.run(
            [*start, *map(str, words), *device],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (result,) = (run / "results").glob("retrieval-*.json")
    figures = json.loads(result.read_text(encoding="utf-8"))["results"]["trained"]
    return last_loss(run), figures


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU, and it takes two")
def test_two_gpus_are_one(material: Material, tmp_path: Path, page: list[str]) -> None:
    """NCCL, batch norm over both, a store that both fill."""
    results = []
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        results.append(
            train_and_evaluate(processes, material.dataset.folder, tmp_path / str(processes))
        )
    page.append(f"one GPU: loss {results[0][0]:.5f}; two: {results[1][0]:.5f}")
    assert results[1][0] == pytest.approx(results[0][0], abs=2e-3)
    assert results[1][1].keys() == results[0][1].keys()


def test_the_device_of_a_command(material: Material, tmp_path: Path) -> None:
    """`--device cpu` leaves the GPU alone; without it, it is used."""
    for words, device in (((), GPU.type), (("--device", "cpu"), "cpu")):
        run = tmp_path / f"{device}{len(words)}"
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        where = ["train", material.dataset.folder, "--recipe", "demo", "--run", run]
        done = run_ascnet(*where, *settings, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f" on {device}," in done.stdout + done.stderr


def test_the_benchmark(material: Material, page: list[str]) -> None:
    """At the sizes of the recipes."""
    few = ["--steps", "4", "--warm-up", "2", "--precisions", "tf32", "bf16"]
    rows = gpu.main(["--shards", str(material.dataset.folder), *few, "--device", GPU.type])
    page += table(rows).splitlines()
    sizes = {(row.setting.backbone, row.setting.clip) for row in rows}
    assert sizes == {("r3d18", "16x112"), ("s3dg", "64x224")}
    assert all(row.pairs > 0 for row in rows)
