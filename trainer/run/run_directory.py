"""The run directory: settings, data, log and checkpoints of a run.

runs/<time>-<recipe>/
    config.toml       all settings, and under [run] the training data and the code version
    training_videos.jsonl  names and source hashes of the videos (trainer/run/trained_videos.py)
    launch            identifies the call of torchrun that trains it, if any
    log.jsonl         a line every `log_every` steps (trainer/run/log.py)
    checkpoints/      the last two and the milestones, named by the step they were written after
    events.out...     the metrics of log.jsonl for TensorBoard
    failed-step-...   the clips of a step whose loss was NaN or infinite, if there was one
"""

import time
from hashlib import file_digest
from pathlib import Path
from typing import Any

import tomli_w

from builder.atomic import only_writer, write_atomically
from builder.command_line import command_line
from builder.regular_file import open_regular
from builder.shards.dataset import ShardDataset
from builder.shards.manifest import fingerprint
from trainer.backbones.all_backbones import check_backbone
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.config.toml_text import read_toml
from trainer.data.batches import is_streamed
from trainer.data.streaming.transport import is_remote, shown, without_password
from trainer.data.training_set import TrainingSet
from trainer.distributed import launch
from trainer.errors import TrainerError
from trainer.run import checkpoint
from trainer.run.checkpoint import CONFIG_FILE
from trainer.run.provenance import code
from trainer.run.trained_videos import write_down

LAUNCH_FILE = "launch"


def new_folder(runs: Path, recipe: str) -> Path:
    """Create an empty folder for a run, named by time and recipe, and by a number if another run
    started in the same second."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{recipe}"
    number, run = 1, runs / name
    while True:
        try:
            run.mkdir(parents=True)
            return run
        except FileExistsError:
            number += 1
            run = runs / f"{name}-{number}"


def start_run(run: Path, settings: Config, data: TrainingSet, ranks: int = 1) -> None:
    """Create the run directory, with the settings and the record of the data and the number of
    ranks. Raises TrainerError if it holds a run already, or if the backbone is unknown."""
    check_backbone(settings.model.backbone)
    run.mkdir(parents=True, exist_ok=True)
    with only_writer(run):
        must_be_free(run)
        record = {
            "code": code(),
            # Runs are copied and shared: they must not hold passwords.
            "shards": [without_password(source) for source in data.sources.values()],
            "secrets_left_out": any(without_password(s) != s for s in data.sources.values()),
            "shards_sha256": [fingerprint(folder) for folder in data.sources],
            "counts": data.counts,
            "streamed": is_streamed(settings.data, data),
            "ranks": ranks,
            "init_sha256": digest_of(settings.model.init),
            "settings": recipe_file.dump(recipe_file.fixed(settings)),
        }
        note_launch(run)
        text = recipe_file.dump(settings) + "\n" + tomli_w.dumps({"run": record})
        write_down(run, map(ShardDataset, data.sources), settings.data.split)
        write_atomically(run / CONFIG_FILE, text)


def note_launch(run: Path) -> None:
    """Record the call of torchrun that trains a run, if any, so that its restarts find the run."""
    if launch():
        write_atomically(run / LAUNCH_FILE, launch() + "\n")


def is_of_this_launch(run: Path) -> bool:
    """Whether this call of torchrun was the last to train a run."""
    try:
        noted = (run / LAUNCH_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return noted != "" and noted == launch()


def run_of_this_launch(runs: Path) -> Path | None:
    """The run in a folder of runs that this call of torchrun trained last; None if it has started
    none yet."""
    of_launch = [run for run in runs.glob("*") if is_run(run) and is_of_this_launch(run)]
    return max(of_launch, key=lambda run: (run / LAUNCH_FILE).stat().st_mtime_ns, default=None)


def must_be_free(run: Path) -> None:
    """Raises TrainerError if a folder holds a run."""
    if holds_run(run):
        raise TrainerError(
            f"{run} holds a run already. Go on with it with --resume, or name another with --run."
        )


def holds_run(run: Path) -> bool:
    """Whether a folder holds a run, or remains of one."""
    return (run / CONFIG_FILE).exists() or bool(checkpoint.list_checkpoints(run))


def record_of(run: Path) -> dict[str, Any]:
    """The record of a run's code and data, the table [run] of its config.toml. Raises TrainerError
    if it is missing or damaged."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise TrainerError(
            f"{run} is not a run directory: there is no {path}. Name one with --run."
        )
    try:
        record = read_toml(path).get("run")
    except ValueError as error:
        raise TrainerError(
            f"{path} is damaged, or not valid TOML: {error}. Copy it again, or name another run "
            "with --run."
        ) from error
    if not isinstance(record, dict) or not _are_texts(record.get("shards")):
        raise TrainerError(
            f"{run} is not a run directory: {path} does not say under [run] what was "
            "trained on. Name one with --run."
        )
    return record


def is_run(folder: Path) -> bool:
    """Whether a folder is a run with a readable record (other programs write config.toml, too)."""
    try:
        record_of(folder)
    except (TrainerError, OSError):
        return False
    return True


def shards_of(run: Path) -> list[str]:
    """The sources of the data sets that a run was trained on: folders, URLs, `pipe:` commands."""
    return list(record_of(run)["shards"])


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def sources_to_resume(run: Path, trusted: bool) -> list[str]:
    """The sources of a run, checked before they are read. Raises TrainerError for a server or a
    command unless it is `trusted`: config.toml may be somebody else's, and must not decide which
    server is contacted or which program runs."""
    record = record_of(run)
    sources = list(record["shards"])
    remote = next(filter(is_remote, sources), None)
    if remote is None:
        return sources
    again = command_line("ascnet", "train", shown(remote), "--run", run, "--resume")
    if record.get("secrets_left_out"):
        raise TrainerError(
            f"{run} was trained on {shown(remote)}, and the password in that address is not kept. "
            f"Give the address again, with it: {again}"
        )
    if not trusted:
        raise TrainerError(
            f"{run} was trained on {shown(remote)}, as {run / CONFIG_FILE} says: a server would be "
            "asked, or a program started, because a file says so. If that is what you want, give "
            f"it again ({again}), or say --trust-source."
        )
    return sources


def must_be_same(run: Path, settings: Config, data: TrainingSet, ranks: int) -> None:
    """Raises TrainerError if resuming with these settings, data and number of ranks would give
    other steps than an uninterrupted run. The data may have moved."""
    record = record_of(run)
    checkpoint.must_be_of(record.get("settings"), settings, run)
    kinds = {"ranks": int, "shards": list, "shards_sha256": list, "streamed": bool}
    kinds |= {"init_sha256": str}
    lacking = sorted(key for key, kind in kinds.items() if type(record.get(key)) is not kind)
    if lacking or len(record["shards"]) != len(record["shards_sha256"]):
        raise TrainerError(
            f"{run}/{CONFIG_FILE} says too little under [run] ({', '.join(lacking) or 'shards'}): "
            "it was changed by hand, or the run was started by another version of ascnet "
            f"({record.get('code', 'unknown')}). Restore it, go on with that version, or start a "
            "new run without --resume."
        )
    named = dict(zip(record["shards"], record["shards_sha256"], strict=True))
    if [fingerprint(folder) for folder in data.sources] != list(named.values()):
        raise TrainerError(_other_data(run, named, data))
    streamed = is_streamed(settings.data, data)
    if streamed != record["streamed"]:
        raise TrainerError(
            f"{run} was started on shards that were {_how(record['streamed'])}, and these would be "
            f"{_how(streamed)}, in another order. Name them as they were, or start a new run."
        )
    if ranks != record["ranks"] and (streamed or not settings.device.sync_bn):
        raise TrainerError(
            f"{run} was started with {record['ranks']} processes, and now there are {ranks}: with "
            "streamed shards, or batch norm of each process alone, that changes what is learnt. "
            f"Start {record['ranks']}, or start a new run without --resume."
        )
    begun = bool(checkpoint.list_checkpoints(run))
    if not begun and digest_of(settings.model.init) != record["init_sha256"]:
        raise TrainerError(
            f"{settings.model.init} was changed since {run} was started. Start a new run without "
            "--resume."
        )


def _other_data(run: Path, named: dict[str, str], data: TrainingSet) -> str:
    for folder, place in data.sources.items():
        source = without_password(place)
        if source in named and fingerprint(folder) != named[source]:
            return (
                f"{shown(source)} was built anew since {run} was started: its steps would see "
                "other videos. Start a new run without --resume."
            )
    return (
        f"{run} was started on {', '.join(map(shown, named))}, not on "
        f"{', '.join(map(shown, data.sources.values()))}. Leave the argument out, or start a new "
        "run without --resume."
    )


def _how(streamed: bool) -> str:
    return "streamed" if streamed else "read by jumping"


def digest_of(path: str) -> str:
    """SHA-256 of the file at `path`; "" for an empty path. Raises TrainerError if it cannot be
    read."""
    if not path:
        return ""
    try:
        with open_regular(Path(path)) as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainerError(
            f"model.init is {path}, which cannot be read: {error.strerror}. Name a file of "
            'weights, or leave model.init "" to start with random ones.'
        ) from error
