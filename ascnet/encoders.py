"""Choose the encoder of a command: that of a run, of a file, or of a store."""

import logging
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ascnet.built_in import BUILT_IN, RECIPE, WEIGHTS, is_built_in
from builder.printable import printable
from evaluate.encoders import (
    TRAINED,
    Subject,
    Subjects,
    folder_of,
    folder_of_encoder,
    of_encoder,
    of_file,
    of_run,
)
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.features.store import Features, identity_in
from evaluate.protocol import Protocol
from trainer.backbones.base import Backbone
from trainer.errors import TrainerError, TrainerUsageError
from trainer.run import checkpoint
from trainer.run.checkpoint import RUNS, newest_run
from trainer.run.run_directory import is_run
from trainer.weights.load import backbone_from_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder of a run, of a file of weights, or of the user.

    Attributes:
        encoder_file: FILE.py:NAME, or hf:DIRECTORY_OR_NAME
        backbone: backbone of a file of weights; None: the one that fits
        recipe: recipe that defines the clips for a file of weights; None: the one that fits
    """

    run: Path | None = None
    weights: Path | None = None
    encoder_file: str | None = None
    backbone: str | None = None
    recipe: str | None = None

    def or_newest_run(self) -> "EncoderChoice":
        """If none is named, that of the newest run. Raises TrainerError if there is no run."""
        return self if self.named else replace(self, run=newest_run(RUNS))

    def or_default(self, store: Path | None = None) -> "EncoderChoice":
        """If no encoder is named, choose that of the run that contains `store`, or the built-in one
        if the store is in its folder; else that of the newest run; without a trained run, the
        built-in one."""
        if self.named:
            return self
        folders = [] if store is None else store.resolve().parents
        if run := next(filter(is_run, folders), None):
            return replace(self, run=run)
        built_in = replace(self, weights=Path(BUILT_IN))
        trained = filter(checkpoint.list_checkpoints, filter(is_run, RUNS.glob("*")))
        if built_in.folder.resolve() in folders or not any(trained):
            return built_in
        return self.or_newest_run()

    @property
    def named(self) -> dict[str, Path | str]:
        """The named encoders, by option."""
        options = {"--run": self.run, "--weights": self.weights, "--encoder": self.encoder_file}
        return {option: value for option, value in options.items() if value is not None}

    @property
    def folder(self) -> Path:
        """The folder of its stores and results."""
        if self.encoder_file is not None:
            return folder_of_encoder(self.encoder_file, RUNS)
        folder = folder_of(self.weights, RUNS) if self.weights is not None else self.run
        assert folder is not None
        return folder

    def subjects(self, step: int | None = None) -> Subjects:
        """Load the encoder and its baselines. `step` is the checkpoint of a run; None: the newest.
        Raises TrainerError if there is none, and EvaluateError if not exactly one encoder is named,
        or if options for files of weights are given for another encoder."""
        if len(self.named) != 1:
            raise EvaluateUsageError(
                "Name one encoder: a run (--run), a file of weights (--weights) or your own "
                "(--encoder)."
            )
        if (self.backbone or self.recipe) and self.weights is None:
            raise EvaluateUsageError(
                "--backbone and --recipe go with --weights; a run has its own backbone and recipe."
            )
        if self.encoder_file is not None:
            return of_encoder(self.encoder_file, RUNS)
        if self.run is not None:
            return of_run(self.run, step)
        assert self.weights is not None
        if is_built_in(self.weights):
            return of_file(WEIGHTS, self.backbone, self.recipe or RECIPE, RUNS)
        return of_file(self.weights, self.backbone, self.recipe, RUNS)


def load_backbone(run_or_file: Path, backbone: str | None = None) -> Backbone:
    """See ascnet.load_backbone."""
    if is_built_in(run_or_file):
        run_or_file = WEIGHTS
    if not run_or_file.exists():
        raise TrainerError(f"There is no run or file {printable(str(run_or_file))}.")
    if run_or_file.is_dir():
        trained = checkpoint.load_backbone(run_or_file)
        name = trained.config.model.backbone
        if backbone not in (None, name):
            raise TrainerUsageError(f"{run_or_file} is a run of {name}, not of {backbone}.")
        return trained.backbone.eval()
    return backbone_from_file(run_or_file, backbone)[0].eval()


def newest_store(encoder: EncoderChoice) -> Path:
    """The newest finished store of trained features in the encoder's folder. Raises EvaluateError
    if there is none."""
    folder = encoder.folder
    stores = [
        path
        for path in (folder / "features").glob("*.h5")
        if not path.name.endswith(".partial.h5") and path.is_file()
    ]
    unread = []
    for path in sorted(stores, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            if not _is_newest_of_its_run(path):
                continue
            Features(path)  # verifies its checksum
        except (EvaluateError, OSError) as error:
            unread.append(str(error))
            continue
        for reason in unread:  # of newer stores
            log.warning("Skipped: %s", reason)
        return path
    others = sorted(path for path in RUNS.glob("*/features/*.h5") if path.parent.parent != folder)
    elsewhere = f" Other runs have stores, such as {others[0]} (--store)." if others else ""
    raise EvaluateError(
        f"{folder} has no finished store of trained features. Make one from the videos to search: "
        "`ascnet embed FOLDER`, or `ascnet embed --shards "
        f"DIR`.{elsewhere}{''.join(f' {s}' for s in unread)}"
    )


def _is_newest_of_its_run(store: Path) -> bool:
    """Whether a store has trained features of the last checkpoint."""
    made_with = identity_in(store)
    return made_with.get("encoder") == TRAINED and "milestone" not in made_with


def subject_of(store: Features, subjects: Subjects, source: str) -> Subject:
    """The encoder that a store was made with, out of `subjects`. `source` names their origin in
    messages. Raises EvaluateError, with the difference, if the store was made with another
    encoder."""
    theirs, is_trained = store.attributes, store.attributes.get("encoder") == TRAINED
    subject = subjects.trained if is_trained else subjects.untrained
    ours = subject.facts
    differing = [name for name, value in ours.items() if theirs.get(name) != value]
    if not differing:
        return subject
    if "checkpoint_sha256" in differing:
        made_with = (
            f"checkpoint {str(theirs.get('checkpoint_sha256', 'none'))[:12]} (step "
            f"{theirs.get('step')}), and {source} has {str(ours['checkpoint_sha256'])[:12]} "
            f"(step {ours['step']})"
        )
    else:
        name = differing[0]
        made_with = f"{name} {theirs.get(name)}, and {source} has {ours[name]}"
    raise EvaluateError(
        f"{printable(str(store.path))} was made with {made_with}: features of different encoders "
        "cannot be compared. Name the run or file that it was made with (--run, --weights, "
        "--encoder), or replace the store with `ascnet embed ... --overwrite`."
    )


def protocol_in(store: Features) -> Protocol:
    """The protocol of a store's features. Raises EvaluateError if it is incomplete."""
    names = Protocol().identity.keys()
    if missing := [name for name in (*names, "recipe") if name not in store.attributes]:
        raise EvaluateError(
            f"{printable(str(store.path))} does not record its {', '.join(missing)}, so no video "
            "can be compared with it. Make it again with `ascnet embed`."
        )
    stored = {f.name for f in fields(Protocol)} & store.attributes.keys()
    return Protocol(**{name: store.attributes[name] for name in stored})  # type: ignore[arg-type]
