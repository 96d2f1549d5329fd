"""The run directory: what was trained on what, and how it went.

runs/<time>-<recipe>/
    config.toml       every setting, and under [run] what it was trained on
    log.jsonl         a line every `log_every` steps
    checkpoints/      the last two, named by the step they were taken after
    events.out...     the same numbers as log.jsonl, for TensorBoard
"""

import json
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
from tensorboardX import SummaryWriter

from builder.atomic import only_writer, write_atomically
from trainer import checkpoint, config
from trainer.ascnet import Losses
from trainer.backbones import check_backbone
from trainer.checkpoint import CONFIG_FILE
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.monitor import embedding_std, healthy_std
from trainer.provenance import code, fingerprint
from trainer.training_set import TrainingSet

LOG_FILE = "log.jsonl"


def start_run(run: Path, settings: Config, data: TrainingSet) -> None:
    """Make the run directory and write down what will be trained on what. Raises TrainerError if
    there is a run already, or if its backbone is not there."""
    check_backbone(settings.model.backbone)
    run.mkdir(parents=True, exist_ok=True)
    with only_writer(run):
        if (run / CONFIG_FILE).exists() or checkpoint.list_checkpoints(run):
            raise TrainerError(
                f"{run} holds a run already. Go on with it with --resume, or name another with "
                "--run."
            )
        record = {
            "code": code(),
            "shards": [str(folder.resolve()) for folder in data.folders],
            "shards_sha256": [fingerprint(folder) for folder in data.folders],
            "counts": data.counts,
        }
        text = config.dump(settings) + "\n" + tomli_w.dumps({"run": record})
        write_atomically(run / CONFIG_FILE, text)


def record_of(run: Path) -> dict[str, Any]:
    """What a run wrote down of its code and data. Raises TrainerError if it is not there."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise TrainerError(f"{run} is no run: there is no {path}. Name one with --run.")
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["run"])


def shards_of(run: Path) -> list[Path]:
    """The data sets that a run was trained on."""
    return [Path(folder) for folder in record_of(run)["shards"]]


def must_be_same_data(run: Path) -> None:
    """Raises TrainerError if a data set was built anew since the run was started."""
    record = record_of(run)
    for folder, digest in zip(record["shards"], record["shards_sha256"], strict=True):
        if fingerprint(Path(folder)) != digest:
            raise TrainerError(
                f"{folder} was built anew since {run} was started: its steps would see other "
                "videos. Start a new run without --resume."
            )


class Log:
    """Numbers of a run, as JSON lines, TensorBoard events and words. On resume, lines after the
    step to go on with are cut off, so that the log reads as if nothing had happened."""

    def __init__(self, run: Path, settings: Config, first: int, total: int) -> None:
        self._path = run / LOG_FILE
        self._settings, self._total = settings, total
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= first]
        write_atomically(self._path, "".join(line + "\n" for line in kept))
        self._events = SummaryWriter(str(run), purge_step=first + 1)
        self._since = time.perf_counter()
        self.waited, self.clips = 0.0, 0  # seconds, clips, since the last line
        self.last: dict[str, Any] = json.loads(kept[-1]) if kept else {}

    def write(self, step: int, lr: float, losses: Losses) -> str:
        """Write a line; the numbers in words come back."""
        seconds = time.perf_counter() - self._since
        line = {
            "step": step,
            "steps": self._total,
            "lr": lr,
            "loss": float(losses.total.detach()),
            "loss_appearance": float(losses.appearance),
            "loss_speed": float(losses.speed),
            "std_appearance": embedding_std(losses.target.appearance),
            "std_speed": embedding_std(losses.target.speed),
            "std_healthy": healthy_std(self._settings.model.dim),
            "with_neighbour": float(losses.with_neighbour),
            "clips_per_second": self.clips / seconds,
            "data_wait": self.waited / seconds,
        }
        self._since, self.waited, self.clips = time.perf_counter(), 0.0, 0
        self.last = line
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name not in ("step", "steps"):
                self._events.add_scalar(name, value, step)
        return (
            f"loss {line['loss']:.3f} (appearance {line['loss_appearance']:.3f}, "
            f"speed {line['loss_speed']:.3f}), std {line['std_appearance']:.3f}/"
            f"{line['std_speed']:.3f} of {line['std_healthy']:.3f}, "
            f"{line['clips_per_second']:.0f} clips/s, data wait {line['data_wait']:.0%}"
        )

    def close(self) -> None:
        with suppress(OSError):  # a full disk was or will be named where it matters
            self._events.close()
