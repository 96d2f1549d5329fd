"""Classify labelled videos with a network trained end to end, or with a head on a frozen one.

The classifier is trained on one random clip of a video at a time and tested on evenly spaced clips.
The logits of a video are the mean over its clips (RSPNet) and their crops.
"""

from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from builder.atomic import only_writer
from builder.progress import Progress, silent
from evaluate.encoders import Subject
from evaluate.errors import EvaluateError
from evaluate.features.encode import UNIT, Reading, encode_together
from evaluate.finetune.checkpoint import Kept, TrainingIdentity
from evaluate.finetune.classifier import Classifier
from evaluate.finetune.clips import (
    LabelledVideos,
    epoch_ends,
    hold_out,
    must_be_usable,
    train_requests,
)
from evaluate.finetune.settings import NO_INFLUENCE, FinetuneSettings, train_protocol
from evaluate.finetune.trainer import Learner
from evaluate.protocol import Protocol, clips_of
from trainer.agreement import on_first
from trainer.data.augment import augment, draw_numbers
from trainer.data.clip_reader import ClipBatch, ClipReader, read_batches
from trainer.data.clip_sampler import Batches
from trainer.data.transfer import on_device, send
from trainer.distributed import this_rank, world
from trainer.random_streams import AUGMENTATION, torch_seed
from trainer.run.provenance import computed_on
from trainer.schedules import total_steps
from trainer.stop import Stop

LAST = "last epoch"
BEST = "best epoch on held-out groups of the train part"

_HELD_OUT_CLIPS = 3  # of a held-out video, one crop each, as they are tested after every epoch
_FEW = 5  # up to so many classes, top-5 accuracy is always 100 %


@dataclass(frozen=True)
class Finetuned:
    """The result of a training.

    Attributes:
        result: figures, history and choices; can be written as JSON
        logits: float32, test videos x classes
    """

    result: dict[str, Any]
    logits: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """int64, the predicted class of every test video."""
        best: np.ndarray = self.logits.argmax(axis=1)
        return best


@dataclass(frozen=True)
class FinetuneJob:
    """The network, data and settings of a training.

    Attributes:
        classes: number of classes of the data set, even if the train part lacks some
        protocol: clips of the test, and of training except for what `settings.train` changes
    """

    subject: Subject
    train: LabelledVideos
    test: LabelledVideos
    classes: int
    protocol: Protocol
    settings: FinetuneSettings

    @property
    def identity(self) -> TrainingIdentity:
        """Everything that determines the numbers."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in NO_INFLUENCE}
        return {
            **self.subject.facts,
            **_flat(settings, "settings."),
            **_flat(self.protocol.identity, "protocol."),
            "classes": self.classes,
            "train videos": self.train.digest(),
            "test videos": self.test.digest(),
        }


def finetune(
    task: FinetuneJob,
    device: torch.device,
    folder: Path,
    progress: Progress = silent,
    testing: Progress = silent,
    *,
    overwrite: bool = False,
) -> Finetuned:
    """Train a classifier and test it. `progress` counts steps, `testing` counts test videos.

    If it is killed and called again with the same task, it continues after the last completed
    epoch; if a signal stopped it, after the last step. On a CPU, the result is the same, bit for
    bit. It may continue on another kind of device; the result lists all that were used. Once
    finished, a further call only reads the result. The test part is evaluated once, after the epoch
    has been chosen.

    Ranks (trainer/distributed.py) share each batch, and the videos of the test. All ranks get the
    result, which is that of one process up to the order of summation. Any number of ranks can
    continue what another number began. Rank 0 writes the files.

    Raises EvaluateError if the loss is NaN or infinite, if the ranks cannot share a batch, or if
    the folder has files that are damaged or of another task (with `overwrite` they are replaced),
    and BuilderError if another process uses the folder.
    """
    _must_be_possible(task, device)
    with ExitStack() as held:

        def begin() -> None:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(folder))

        on_first(begin)
        kept = Kept(folder, task.identity, computed_on(device), overwrite)
        if (finished := kept.result()) is None:
            if this_rank().number:
                progress = testing = silent
            finished = _finetune(task, device, kept, progress, testing)
            kept.write_result(finished)
        with kept.must_fit():
            result = dict(finished["result"]) | kept.computed_on
            return Finetuned(result, finished["logits"].numpy())


def _must_be_possible(task: FinetuneJob, device: torch.device) -> None:
    must_be_usable(task.train, "train", task.classes)
    must_be_usable(task.test, "test", task.classes)
    batch, ranks = task.settings.batch, world()
    if batch % ranks:
        raise EvaluateError(
            f"{ranks} processes cannot share a batch of {batch} clips equally. Start another "
            "number of processes, or change the batch size, and the learning rate with it (--set "
            f"classifier.batch=..., --set classifier.lr=..., now {task.settings.lr:g})."
        )
    if device.type == "cpu" and task.settings.precision == "bf16":
        raise EvaluateError(
            "precision is bf16 and the device is a CPU, where torch's bf16 gradients of "
            "convolutions are wrong for some shapes. Pass --set classifier.precision=fp32."
        )


def _finetune(
    task: FinetuneJob, device: torch.device, kept: Kept, progress: Progress, testing: Progress
) -> dict[str, Any]:
    settings, learnt, held_out = task.settings, task.train, None
    if settings.choose == "holdout":
        learnt, held_out = hold_out(task.train)
    classifier = Classifier(task.subject.backbone, task.classes, task.protocol, device, settings)
    learner = Learner(classifier, settings, total_steps(settings, len(learnt.videos)), device)
    if (state := kept.state()) is not None:
        with kept.must_fit():
            learner.load_state_dict(state)
    try:
        with learner.multiplying():
            _train(task, learnt, held_out, learner, kept, progress)
        if learner.best is not None:
            classifier.load(learner.best)
        logits = video_logits(learner, task.test, task.protocol, testing)
    except torch.OutOfMemoryError as error:
        raise EvaluateError(
            f"{settings.batch // world()} clips at a time do not fit the GPU's memory. Use fewer "
            "(--set classifier.batch=..., and lower classifier.lr= with it) or compute in bf16 "
            f"(--set classifier.precision=bf16, now {settings.precision})."
        ) from error
    return {
        "result": _result(task, learnt, learner, logits),
        "logits": torch.from_numpy(logits),
    }


def _train(
    task: FinetuneJob,
    learnt: LabelledVideos,
    held_out: LabelledVideos | None,
    learner: Learner,
    kept: Kept,
    progress: Progress,
) -> None:
    """Train from the learner's step to the end. The state is saved after every epoch, and when a
    signal asks to stop."""
    settings, device, total = task.settings, learner.device, learner.total
    protocol = train_protocol(task.protocol, settings)
    ends = epoch_ends(len(learnt.videos), settings.batch, total)
    shares = Batches(range(learner.step, total), settings.batch, this_rank())
    requests = train_requests(learnt.videos, protocol, shares, settings.seed)
    reader = ClipReader(learnt.videos, protocol.short_side)
    pinned = device.type == "cuda"
    batches = on_device(read_batches(reader, requests, settings.workers, pinned), device)
    labels = torch.from_numpy(learnt.labels)
    with Stop(alone=world() == 1) as stop, closing(batches):
        for step in shares.numbers:
            asked_to_stop = stop.ask(device)
            if (batch := stop.next_of(batches)) is None:
                break
            clips = _augmented(batch, settings, protocol, step, device)
            learner.take(clips, send(labels[batch.videos], device))
            text = f"loss {learner.mean_loss():.3f}{_latest(learner)}"
            if epoch := ends.get(learner.step):
                top1 = _held_out_top1(learner, held_out, task.protocol) if held_out else None
                learner.end_epoch(epoch, top1)
                kept.write_state(learner.state_dict())
            progress(learner.step, total, text)
            if asked_to_stop():
                break
        else:
            return
        kept.write_state(learner.state_dict())
        stop.end()


def _latest(learner: Learner) -> str:
    """Progress text: the number of completed epochs, and the accuracy on held-out videos if
    known."""
    if not learner.epochs:
        return ""
    last = learner.epochs[-1]
    text = f", {last['epoch']} epochs done"
    if last["held_out_top1"] is not None:
        text += f", {last['held_out_top1']:.1f} % of the held-out videos"
    return text


def _augmented(
    batch: ClipBatch,
    settings: FinetuneSettings,
    protocol: Protocol,
    step: int,
    device: torch.device,
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(torch_seed(settings.seed, step, AUGMENTATION))
    joint = draw_numbers(settings.batch, generator)
    numbers = send(joint[this_rank().share(len(joint))], device)
    clips = augment(batch.clips, settings.augment, protocol.size, numbers, protocol.normalise)
    return clips.contiguous(memory_format=torch.channels_last_3d)


def _held_out_top1(learner: Learner, held_out: LabelledVideos, protocol: Protocol) -> float:
    few = replace(protocol, clips=min(protocol.clips, _HELD_OUT_CLIPS), every=0.0, crops=1)
    return _top(video_logits(learner, held_out, few), held_out.labels, 1)


def video_logits(
    learner: Learner, part: LabelledVideos, protocol: Protocol, progress: Progress = silent
) -> np.ndarray:
    """Mean logits of every video over its clips and their crops: float32, videos x classes, on all
    ranks. Raises EvaluateError if they are NaN or infinite, or if the GPU's memory is too small."""
    learner.classifier.eval()
    videos, workers = part.videos, learner.settings.workers
    lengths = [len(clips) for clips in clips_of(videos, protocol)]
    units = range(0, len(videos), UNIT)
    means: dict[int, np.ndarray] = {}
    try:
        with learner.multiplying(benchmark=False):  # batches of a test have many sizes
            for first, logits in encode_together(
                learner.logits, videos, protocol, learner.device, Reading(workers), units
            ):
                of_videos = logits.split(lengths[first : first + UNIT])
                for video, clips in enumerate(of_videos, first):
                    means[video] = clips.mean(dim=0).numpy()
                    if not np.isfinite(means[video]).all():
                        raise _no_logits(videos[video].name, learner.settings)
                progress(len(means), len(videos), "")
    except torch.OutOfMemoryError as error:
        raise EvaluateError(
            "The clips of the test do not fit the GPU's memory. What was trained is kept: repeat "
            "the command on a GPU with more memory, or with --device cpu."
        ) from error
    return np.stack([means[video] for video in range(len(videos))])


def _no_logits(video: str, settings: FinetuneSettings) -> EvaluateError:
    return EvaluateError(
        f"The logits of {video} are NaN or infinite, so it cannot be classified: the initial "
        "weights are damaged (for example, batch-norm statistics), or numbers overflow in the "
        "network. Use other weights, or lower the learning rate (--set classifier.lr=..., now "
        f"{settings.lr:g}), and start again with --overwrite."
    )


def _result(
    task: FinetuneJob, learnt: LabelledVideos, learner: Learner, logits: np.ndarray
) -> dict[str, Any]:
    tested = learner.chosen()
    clips = train_protocol(task.protocol, task.settings).identity
    attention = learner.classifier.attention
    return {
        "top1": _top(logits, task.test.labels, 1),
        "top5": _top(logits, task.test.labels, 5) if task.classes > _FEW else None,
        "train_loss": learner.epochs[-1]["loss"],
        "epoch": tested["epoch"],
        "chosen": LAST if learner.best is None else BEST,
        "epochs": learner.epochs,
        "averaged": "logits, over the clips of a video and their crops",
        "learned_from": len(learnt.videos),
        "held_out": len(task.train.videos) - len(learnt.videos),
        "tested_on": len(task.test.videos),
        "train_clips": {key: clips[key] for key in ("frames", "stride", "fps", "size")},
        "settings": asdict(task.settings),
        **({"heads": attention.heads} if attention is not None else {}),
        "weights_sha256": _digest(learner.classifier),
    }


def _top(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Percentage of the videos whose class is among the k with the largest logits."""
    best = torch.from_numpy(logits).topk(k, dim=1).indices
    return float(100 * (best == torch.from_numpy(labels)[:, None]).any(dim=1).double().mean())


def _digest(classifier: Classifier) -> str:
    """SHA-256 (hexadecimal) of all weights and statistics, in the order of their names."""
    state = sorted(classifier.state_dict().items())
    return sha256(
        b"".join(v.detach().cpu().contiguous().numpy().tobytes() for _, v in state)
    ).hexdigest()


def _flat(table: dict[str, Any], prefix: str) -> TrainingIdentity:
    """Flatten nested tables: {"augment": {"flip": 0.5}} becomes {"augment.flip": 0.5}."""
    flat: TrainingIdentity = {}
    for key, value in table.items():
        is_table = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if is_table else {prefix + key: value}
    return flat
