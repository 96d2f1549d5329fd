"""Which encoder a command uses: a run's, a file's, or the one that a store was made with."""

import logging
from dataclasses import fields
from pathlib import Path

from builder.printable import printable
from evaluate.encoders import TRAINED, Subject, Subjects, folder_of, of_file, of_run
from evaluate.errors import EvaluateError
from evaluate.features.store import Features
from evaluate.protocol import Protocol
from trainer.backbones.base import Backbone
from trainer.errors import TrainerError
from trainer.run import checkpoint
from trainer.run.checkpoint import RUNS, newest_run
from trainer.run.run import is_run
from trainer.weights.load import backbone_from_file

log = logging.getLogger(__name__)


def subjects_of(
    run: Path | None, weights: Path | None, backbone: str | None = None, recipe: str | None = None
) -> Subjects:
    """The encoder of a run, or of a file of weights. `backbone` and `recipe` (whose clips it takes)
    are of a file; None: what fits. Raises TrainerError if there is none, and EvaluateError if both
    are named, or neither, or if what is of a file is said of a run."""
    if (run is None) == (weights is None):
        raise EvaluateError("Name one encoder: a run (--run) or a file of weights (--weights).")
    if (backbone or recipe) and weights is None:
        raise EvaluateError(
            "--backbone and --recipe go with --weights; a run has its own backbone and recipe."
        )
    if run is not None:
        return of_run(run)
    assert weights is not None
    return of_file(weights, backbone, recipe, RUNS)


def load_backbone(run_or_file: Path, backbone: str | None = None) -> Backbone:
    """As `ascnet.load_backbone` says."""
    if not run_or_file.exists():
        raise TrainerError(f"There is no run and no file {printable(str(run_or_file))}.")
    if run_or_file.is_dir():
        trained = checkpoint.load_backbone(run_or_file)
        own = trained.config.model.backbone
        if backbone not in (None, own):
            raise TrainerError(f"{run_or_file} is a run of {own}, not of {backbone}.")
        return trained.backbone.eval()
    return backbone_from_file(run_or_file, backbone)[0].eval()


def default_run(store: Path | None = None) -> Path:
    """The run that a store lies in, else the newest one."""
    if store is not None:
        for folder in store.resolve().parents:
            if is_run(folder):
                return folder
    return newest_run(RUNS)


def newest_store(run: Path | None, weights: Path | None = None) -> Path:
    """The newest finished store of trained features of a run, or of a file of weights. Raises
    EvaluateError if there is none."""
    folder = folder_of(weights, RUNS) if weights is not None else run
    assert folder is not None
    found = [
        path
        for path in (folder / "features").glob("*.h5")
        if not path.name.endswith(".partial.h5") and path.is_file()
    ]
    unread = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            encoder = Features(path).attributes.get("encoder")
        except (EvaluateError, OSError) as error:
            unread.append(str(error))
            continue
        if encoder == TRAINED:
            for said in unread:  # of what is newer
                log.warning("Left aside: %s", said)
            return path
    raise EvaluateError(
        f"{folder} has no finished store of trained features. Make one of the videos to search in: "
        f"`ascnet embed FOLDER`, or `ascnet embed --shards DIR`.{''.join(f' {s}' for s in unread)}"
    )


def subject_of(store: Features, subjects: Subjects, source: str) -> Subject:
    """The encoder that a store was made with, of those that `source` (a run, a file) offers.
    Raises EvaluateError, saying what differs, if it is neither."""
    own = store.attributes
    wants_trained = own.get("encoder") == TRAINED
    subject = subjects.trained if wants_trained else subjects.untrained
    differing = [name for name, value in subject.facts.items() if own.get(name) != value]
    if not differing:
        return subject
    if "checkpoint_sha256" in differing:
        theirs, ours = own.get("checkpoint_sha256", "none"), subject.facts["checkpoint_sha256"]
        what = (
            f"checkpoint {str(theirs)[:12]} (step {own.get('step')}), and {source} has "
            f"{str(ours)[:12]} (step {subject.facts['step']})"
        )
    else:
        name = differing[0]
        what = f"{name} {own.get(name)}, and {source} has {subject.facts[name]}"
    raise EvaluateError(
        f"{printable(str(store.path))} was made with {what}: features of two encoders cannot be "
        "compared. Name the run or the file it was made with (--run, --weights), or make the store "
        "anew with `ascnet embed ... --overwrite`."
    )


def protocol_in(store: Features) -> Protocol:
    """How the features of a store were taken. Raises EvaluateError if it does not say so."""
    own = store.attributes
    names = [field.name for field in fields(Protocol)]
    if missing := [name for name in (*names, "recipe") if name not in own]:
        raise EvaluateError(
            f"{printable(str(store.path))} does not say its {', '.join(missing)}, so no video can "
            "be compared with it. Make it anew with `ascnet embed`."
        )
    return Protocol(**{name: own[name] for name in names})  # type: ignore[arg-type]
