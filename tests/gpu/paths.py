"""Every code path of the product that uses a device, as a pure function that returns numbers.

`rehearse.py` compares the numbers of a simulated GPU with the CPU's, `test_paths.py` those of a
real one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from builder.build.build import BuildSettings, How, build
from builder.catalog import folder
from builder.decode.frames import FrameSettings
from builder.shards.dataset import ShardDataset
from evaluate.encoders import Subject, of_file
from evaluate.features.extract import Extraction, extract
from evaluate.features.store import Features
from evaluate.finetune.clips import LabelledVideos
from evaluate.finetune.finetune import FinetuneJob, finetune
from evaluate.finetune.settings import FinetuneSettings
from evaluate.probe.linear import Sgd
from evaluate.probe.probe import LabelledFeatures, ProbeSettings, linear_probe
from evaluate.protocol import Protocol
from evaluate.request import Question
from evaluate.retrieval.knn import knn_accuracy
from evaluate.retrieval.nearest import nearest
from evaluate.retrieval.retrieval import average_precision
from evaluate.search.duplicates import find_pairs
from evaluate.tasks import evaluate
from experiments.hand_crafted import HAND_CRAFTED
from experiments.peer_training import train_peer
from experiments.peers import PEER_OF
from tests.conftest import TINY, write_video
from trainer.backbones.all_backbones import make_backbone
from trainer.config.recipe_file import load_recipe, override, recipes
from trainer.config.settings import Config
from trainer.data.batches import training_batches
from trainer.data.training_set import TrainingSet, gather
from trainer.distributed import ALONE
from trainer.errors import TrainerError
from trainer.execution import backends, prepare
from trainer.pretrain import make_model, train
from trainer.run.checkpoint import list_checkpoints, load_last
from trainer.run.run_directory import start_run
from trainer.step import Stepper, Taken
from trainer.training_state import TrainingState

# Changes to the recipes: small sizes, and no bf16, which takes minutes on a CPU.
SMALL = (
    "device.precision=fp32",
    *("data.frames=8", "data.size=32", "data.short_side=0", "data.workers=1"),
    *("model.hidden=16", "model.dim=8", "objective.bank=64", "objective.speed_warmup=0.0"),
    "optim.batch=2",
)
OURS = ("objective.speed_target=direction", "objective.appearance_contrast=0.7")
TRAININGS = {
    "paper's objective": ("objective.momentum=0",),
    "our additions": (*OURS, "objective.decorrelation=10", "objective.neighbours=3"),
    "AdamW": ("optim.optimiser=adamw",),
    "LARS": ("optim.optimiser=lars", "optim.lr=10"),
    "clipped gradients": ("optim.clip=0.1",),
    "in two parts": ("optim.accumulate=2",),
    "tf32": ("device.precision=tf32",),
    "bf16": ("device.precision=bf16", "data.frames=20"),  # with 4, a CPU's gradients are wrong
    "fp16": ("device.precision=fp16", "optim.clip=1"),
    "streamed": ("data.streaming=true", "device.channels_last=false"),
}
PROTOCOL = Protocol(frames=4, stride=2, size=16, clips=2)
FACTS: dict[str, str | int] = {"encoder": "trained", "checkpoint_sha256": "a" * 64, "seed": 0}


@dataclass(frozen=True)
class Material:
    """Shards of videos with two frame sizes, and the training set of them."""

    dataset: ShardDataset
    training: TrainingSet


Numbers = dict[str, np.ndarray]
DevicePath = Callable[[Material, torch.device, Path], Numbers]


def make_material(root: Path) -> Material:
    """Build shards of two classes with five groups each, and one wide and one tall video per
    group."""
    patterns = {"bars": "smptebars", "test": "testsrc"}
    for name, pattern in patterns.items():
        for group in range(1, 6):
            for clip, size in ((1, "64x48"), (2, "48x64")):
                video = root / "videos" / name / f"v_{name}_g{group:02d}_c{clip:02d}.avi"
                write_video(video, frames=16 + group, size=size, pattern=pattern)
    out, shards = root / "shards", BuildSettings(FrameSettings(short_side=32), videos_per_shard=4)
    build(folder.read(root / "videos"), out, shards, How(workers=2))
    settings = override(load_recipe("demo"), TINY)
    return Material(ShardDataset(out), gather({out: str(out)}, settings.data))


@contextmanager
def steps(
    settings: Config, material: Material, device: torch.device, count: int
) -> Iterator[Iterator[Taken]]:
    """Yield the first steps of a training that writes nothing."""
    data = material.training
    state = TrainingState(make_model(settings), settings, device)
    network = prepare(state.model, settings.device, device)
    with (
        backends(settings.device, device),
        closing(training_batches(settings, data, 0, count, ALONE, device)) as batches,
    ):
        stepper = Stepper(Path(), settings, data, state, network, count, ALONE, device)
        yield (stepper.take(step, batches) for step in range(count))


def recipe(name: str, material: Material, device: torch.device, work: Path) -> Numbers:
    """Take two steps of a recipe."""
    settings = override(load_recipe(name), SMALL)
    with steps(settings, material, device, 2) as taken:
        return {"losses": np.array([float(step.losses.loss) for step in taken])}


def training(
    assignments: Sequence[str], material: Material, device: torch.device, work: Path
) -> Numbers:
    """Train two steps with log and checkpoints, then resume and repeat the second one."""
    every = ("optim.steps=2", "log_every=1", "checkpoint_every=1")
    settings = override(load_recipe("demo"), (*TINY, *every, *assignments))
    run = work / "run"
    start_run(run, settings, material.training)
    train(run, settings, material.training, device)
    list_checkpoints(run)[-1].unlink()
    last = train(run, settings, material.training, device)
    model = load_last(run)[1]["model"]
    weights = [v.double().abs().mean() for v in model.values() if v.is_floating_point()]
    figures = {k: v for k, v in last.items() if k.startswith(("loss", "std", "rank", "corr"))}
    return {"log": _row(figures.values()), "weights": torch.stack(weights).numpy()}


def begun_with_weights(material: Material, device: torch.device, work: Path) -> Numbers:
    """Initialise the network from a file of weights, as `train --init`."""
    weights = work / "weights.pt"
    torch.save(subject().backbone.state_dict(), weights)
    settings = override(load_recipe("demo"), (*TINY, f"model.init={weights}"))
    state = TrainingState(make_model(settings), settings, device)
    state.restore(work)
    state.must_be_finite(0)
    return {"weight": next(state.model.parameters()).detach().cpu().numpy()}


def without_a_number(material: Material, device: torch.device, work: Path) -> Numbers:
    """Take a step whose loss is NaN; its clips and weights are saved."""
    settings = override(load_recipe("demo"), TINY)
    state = TrainingState(make_model(settings), settings, device)
    with torch.no_grad():
        next(state.model.parameters()).fill_(torch.nan)
    stepper = Stepper(work, settings, material.training, state, state.model, 1, ALONE, device)
    with (
        closing(training_batches(settings, material.training, 0, 1, ALONE, device)) as batches,
        pytest.raises(TrainerError, match="The loss is nan at step 1"),
    ):
        stepper.take(0, batches)
    kept = torch.load(next(work.glob("failed-*.pt")), weights_only=True)
    return {"clip": kept["frames"][0].numpy()}


def _row(values: object) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], np.float64)  # type: ignore


def peer(kind: str, material: Material, device: torch.device, work: Path) -> Numbers:
    weights = (*TINY, "optim.steps=2", "objective.decorrelation=1")
    settings = override(load_recipe("demo"), weights)
    backbone = train_peer(kind, settings, material.training, device)
    clips = torch.ones(1, 3, 4, 16, 16, device=device)
    with torch.no_grad():
        return {"features": backbone.eval()(clips).cpu().numpy()}


def hand_crafted(material: Material, device: torch.device, work: Path) -> Numbers:
    clips = torch.rand(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
    return {name: how.features(clips).cpu().numpy() for name, how in HAND_CRAFTED.items()}


def subject(backbone: str = "r3d-tiny") -> Subject:
    torch.manual_seed(0)
    return Subject("trained", make_backbone(backbone), FACTS)


def extraction(protocol: Protocol, material: Material, device: torch.device, work: Path) -> Numbers:
    path = work / "features.h5"
    extract(path, Extraction(subject(), protocol, material.dataset, device, workers=1))
    return {"clips": Features(path).clip_features}


def duplicates(material: Material, device: torch.device, work: Path) -> Numbers:
    path = work / "features.h5"
    extract(path, Extraction(subject(), PROTOCOL, material.dataset, device, workers=1))
    stored = Features(path)
    pairs = find_pairs(stored, 0.9, stored.features.mean(axis=0), device)
    return {"scores": np.array([pair.score for pair in pairs])}


def task(material: Material, device: torch.device, work: Path) -> Numbers:
    """Run `ascnet evaluate --task retrieval` on a file of weights, with its picture."""
    weights = work / "weights.pt"
    torch.save(subject().backbone.state_dict(), weights)
    subjects = of_file(weights, None, "demo", work)
    question = Question("retrieval", "1", PROTOCOL, baseline=False)
    result = evaluate(question, subjects, material.dataset, device)
    return {"figures": _row(result["results"]["trained"].values())}


@dataclass(frozen=True)
class Rows:
    """Synthetic features, some of them equal, of six classes and eight groups."""

    gallery: np.ndarray
    queries: np.ndarray
    labels: tuple[np.ndarray, np.ndarray]
    groups: tuple[np.ndarray, np.ndarray]


def rows(gallery: int = 300, queries: int = 40, channels: int = 16) -> Rows:
    dice = np.random.default_rng(0)
    both = dice.standard_normal((gallery + queries, channels), np.float32)
    both[: gallery // 2] = both[0]  # more equal rows than candidates
    labels, groups = (dice.integers(0, count, len(both)) for count in (6, 8))
    parts = [(x[:gallery], x[gallery:]) for x in (both, labels, groups)]
    return Rows(*parts[0], parts[1], parts[2])


def neighbours(material: Material, device: torch.device, work: Path) -> Numbers:
    found: Numbers = {}
    some = rows()
    queries = np.concatenate([some.queries, some.gallery[:2]])  # the last two have equal rows
    for name, groups in {"all": None, "others": some.groups}.items():
        asked = some.queries if groups else queries
        answer = nearest(some.gallery, asked, 20, groups=groups, device=device)
        found |= {f"{name}: rows": answer.positions, f"{name}: cosines": answer.scores}
    return found


def precisions(material: Material, device: torch.device, work: Path) -> Numbers:
    some = rows()
    return {
        name: average_precision(
            some.gallery, some.queries, some.labels, groups=groups, device=device
        )
        for name, groups in {"all": None, "others": some.groups}.items()
    }


def knn(material: Material, device: torch.device, work: Path) -> Numbers:
    some = rows()
    result = knn_accuracy(some.gallery, some.queries, some.labels, device=device)
    return {"classes": result.predictions, "top1": _row(result.accuracy.values())}


def probe(settings: ProbeSettings, material: Material, device: torch.device, work: Path) -> Numbers:
    some = rows()
    parts = [
        LabelledFeatures(x, y, g.tolist())
        for x, y, g in zip((some.gallery, some.queries), some.labels, some.groups, strict=True)
    ]
    result = linear_probe(parts[0], parts[1], settings, device)
    return {"classes": result.predictions, "top1": np.array([result.top1, result.train_top1])}


def classifier(
    settings: FinetuneSettings, material: Material, device: torch.device, work: Path
) -> Numbers:
    """Train a network, or a linear layer on top of it, for one epoch."""
    videos = [v for v in material.dataset.videos if v.label is not None]
    parts = [
        LabelledVideos(some, np.array([v.label for v in some], np.int64))
        for some in ([v for v in videos if clip in v.name] for clip in ("c01", "c02"))
    ]
    job = FinetuneJob(subject(), parts[0], parts[1], 2, PROTOCOL, settings)
    done = finetune(job, device, work / "classifier")
    return {"logits": done.logits, "loss": np.array(done.result["train_loss"])}


ONE_EPOCH = FinetuneSettings(epochs=1.0, batch=4, lr=0.01, workers=1)
LAYER3 = replace(PROTOCOL, layer="layer3", pooling="max", crops=3, mirrored=True)
_SMALL_SGD = ProbeSettings(solver="sgd", sgd=Sgd(epochs=5, batch=64))

PATHS: dict[str, DevicePath] = {
    **{
        f"training: recipe {name}": partial(recipe, name)
        for name in recipes()
        if not name.startswith("ucf101")  # the same networks as Kinetics-400's
    },
    **{f"training: {name}": partial(training, changes) for name, changes in TRAININGS.items()},
    "training: begun with weights": begun_with_weights,
    "training: a loss that is no number": without_a_number,
    **{f"experiments: {name}": partial(peer, name) for name in PEER_OF},
    "experiments: hand-crafted features": hand_crafted,
    "features: extraction": partial(extraction, PROTOCOL),
    "features: layer3, three crops": partial(extraction, LAYER3),
    "retrieval: nearest neighbours": neighbours,
    "retrieval: average precision": precisions,
    "retrieval: kNN": knn,
    "retrieval: the task, with a picture": task,
    "probe: L-BFGS": partial(probe, ProbeSettings()),
    "probe: SGD": partial(probe, _SMALL_SGD),
    "classifier: fine-tuned": partial(classifier, replace(ONE_EPOCH, choose="holdout")),
    "classifier: fine-tuned in fp16": partial(classifier, replace(ONE_EPOCH, precision="fp16")),
    "classifier: linear layer": partial(classifier, replace(ONE_EPOCH, frozen=True)),
    "search: near duplicates": duplicates,
}
