"""Pre-training: the loop, and the run directory that it writes.

runs/<time>-<recipe>/
    config.toml       every setting, and under [run] what it was trained on
    log.jsonl         a line every `log_every` steps
    checkpoints/      the last two, named by the step they were taken after
    events.out...     the same numbers as log.jsonl, for TensorBoard
"""

import fcntl
import json
import math
import os
import random
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from tensorboardX import SummaryWriter

from builder.shard import ShardDataset, Video, write_atomically
from trainer import checkpoint, config
from trainer.ascnet import ASCNet, Losses
from trainer.augment import augment
from trainer.backbones import check_backbone
from trainer.checkpoint import CONFIG_FILE
from trainer.clips import ClipReader, count_short, pair_requests, read_batches
from trainer.config import Config, Data
from trainer.errors import TrainerError
from trainer.monitor import embedding_std, healthy_std
from trainer.provenance import code, fingerprint
from trainer.schedules import scaled_lr, target_momentum, warmup_cosine

LOG_FILE = "log.jsonl"
Progress = Callable[[int, int, str], None]  # done, total, the numbers in words


@dataclass(frozen=True)
class TrainingSet:
    """The training videos of one split of one or several data sets."""

    videos: tuple[Video, ...]
    groups: tuple[int, ...]  # number of each video's source group, over all data sets
    folders: tuple[Path, ...]
    counts: dict[str, dict[str, Any]]  # of each data set, as in dataset.json
    short: int  # videos too short for a clip at the largest stride


def gather(folders: Sequence[Path], settings: Data) -> TrainingSet:
    """All training videos of a split. Raises TrainerError where a data set has none, or where one
    is too short and the policy is `error`."""
    videos: list[Video] = []
    groups: dict[tuple[Path, str], int] = {}
    numbers, counts, split = [], {}, settings.split
    for folder in folders:
        dataset = ShardDataset(folder)
        own = dataset.subset(split, "train")
        if not own:
            raise TrainerError(
                f"{folder} has no training videos in split {split}; "
                f"its splits are {describe_splits(dataset)}. Choose one with --set data.split=N."
            )
        numbers += [groups.setdefault((folder, v.group), len(groups)) for v in own]
        videos.extend(own)
        counts[str(folder)] = {"training_videos": len(own), **dataset.counts}
    short = count_short([v.frames for v in videos], settings.frames, settings.strides)
    if short and settings.short_videos == "error":
        raise TrainerError(
            f"{short} of {len(videos)} training videos are too short for {settings.frames} frames "
            f"at stride {max(settings.strides)}, and data.short_videos is 'error'. Allow it with "
            "--set data.short_videos=loop (or repeat_last), or take shorter clips."
        )
    return TrainingSet(tuple(videos), tuple(numbers), tuple(folders), counts, short)


def describe_splits(dataset: ShardDataset) -> str:
    """ "1 (test, train), 2 (train)"."""
    return ", ".join(f"{s} ({', '.join(sorted(p))})" for s, p in sorted(dataset.splits().items()))


def total_steps(settings: Config, videos: int) -> int:
    """Steps of a run: `optim.steps`, or as many as `optim.epochs` passes over the videos take."""
    optim = settings.optim
    return optim.steps or max(1, round(optim.epochs * videos / optim.batch))


def start_run(run: Path, settings: Config, data: TrainingSet) -> None:
    """Make the run directory and write down what will be trained on what. Raises TrainerError if
    there is a run already, or if its backbone is not there."""
    check_backbone(settings.model.backbone)
    run.mkdir(parents=True, exist_ok=True)
    with _only_trainer(run):
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


@contextmanager
def _only_trainer(run: Path) -> Iterator[None]:
    """Hold a lock on the run directory; the system lifts it when the process ends."""
    lock = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TrainerError(
            f"Another training writes to {run}. Wait for it, or name another run with --run."
        ) from None
    finally:
        os.close(lock)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_model(settings: Config) -> ASCNet:
    """The model before training; the same weights for the same settings."""
    seed_everything(settings.seed)
    return ASCNet(settings.model, settings.objective)


def make_optimiser(model: ASCNet, settings: Config) -> torch.optim.Optimizer:
    """SGD or AdamW; no weight decay on biases and norms."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    decay = settings.optim.weight_decay
    if settings.optim.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, weight_decay=decay)
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.optim.momentum, weight_decay=decay)


def train(
    run: Path,
    settings: Config,
    data: TrainingSet,
    device: torch.device,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Train to the end, from the newest checkpoint if the run has one. The last line of the log
    comes back. Raises TrainerError if the loss is no number any more, or if another process
    trains this run."""
    with _only_trainer(run):
        return _train(run, settings, data, device, progress)


def _train(
    run: Path, settings: Config, data: TrainingSet, device: torch.device, progress: Progress
) -> dict[str, Any]:
    total = total_steps(settings, len(data.videos))
    model = make_model(settings).to(device)
    optimiser = make_optimiser(model, settings)
    first = _restore(run, model, optimiser)
    reader = ClipReader(data.videos, settings.data.short_side)
    groups = torch.tensor(data.groups)
    log = _Log(run, settings, first, total)
    batches = read_batches(
        reader,
        pair_requests(
            [v.frames for v in data.videos],
            range(first, total),
            batch=settings.optim.batch,
            clip_length=settings.data.frames,
            strides=settings.data.strides,
            policy=settings.data.short_videos,
            seed=settings.seed,
        ),
        settings.data.workers,
    )
    layout = torch.channels_last_3d
    model.train().to(memory_format=layout)  # type: ignore[call-overload]
    for step in range(first, total):
        waiting = time.perf_counter()
        batch = next(batches)
        log.waited += time.perf_counter() - waiting

        generator = torch.Generator().manual_seed(_step_seed(settings.seed, step))
        clips = augment(
            batch.frames.to(device), batch.sizes, settings.augment, settings.data.size, generator
        ).contiguous(memory_format=layout)
        losses = model(
            clips,
            batch.strides.to(device),
            batch.videos.to(device),
            groups[batch.videos].to(device),
            with_speed=step >= settings.objective.speed_warmup * total,
        )
        _must_be_finite(losses, step)
        lr = scaled_lr(settings.optim.lr, settings.optim.batch)
        lr *= warmup_cosine(step, total, settings.optim.warmup)
        for group in optimiser.param_groups:
            group["lr"] = lr
        optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        optimiser.step()
        model.update_target(target_momentum(step, total, settings.objective.momentum))

        done = step + 1
        log.clips += len(batch.strides)
        if done % settings.log_every == 0 or done == total:
            progress(done, total, log.write(done, lr, losses))
        else:
            progress(done, total, "")
        if done % settings.checkpoint_every == 0 or done == total:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save(run, done, state)
    log.close()
    return log.last


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> 1)


def _restore(run: Path, model: ASCNet, optimiser: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint, if there is one; the step to go on with comes back."""
    if not checkpoint.list_checkpoints(run):
        return 0
    _, state = checkpoint.load_last(run)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _must_be_finite(losses: Losses, step: int) -> None:
    if not math.isfinite(float(losses.total.detach())):
        raise TrainerError(
            f"The loss is {float(losses.total.detach())} at step {step + 1}. Lower the learning "
            "rate (--set optim.lr=...) or raise the warm-up (--set optim.warmup=0.1) and start a "
            "new run; a resumed one keeps its settings and comes here again."
        )


class _Log:
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
        self._events.close()
