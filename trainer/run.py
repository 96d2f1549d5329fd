"""The run directory: what was trained on what, and how it went.

runs/<time>-<recipe>/
    config.toml       every setting, and under [run] what it was trained on
    log.jsonl         a line every `log_every` steps (trainer/log.py)
    checkpoints/      the last two and the milestones, named by the step they were taken after
    events.out...     the same numbers as log.jsonl, for TensorBoard
    failed-step-...   the step whose loss was no number, if one was
"""

import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from builder.atomic import only_writer, write_atomically
from trainer import checkpoint, config
from trainer.backbones import check_backbone
from trainer.checkpoint import CONFIG_FILE
from trainer.config import Config
from trainer.errors import TrainerError
from trainer.provenance import code, fingerprint
from trainer.training_set import TrainingSet


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
            "shards": list(data.sources.values()),
            "shards_sha256": [fingerprint(folder) for folder in data.sources],
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


def shards_of(run: Path) -> list[str]:
    """The data sets that a run was trained on: folders, URLs or `pipe:` commands."""
    return list(record_of(run)["shards"])


def must_be_same_data(run: Path, data: TrainingSet) -> None:
    """Raises TrainerError if `data` is not what the run was started on."""
    record = record_of(run)
    started_on = dict(zip(record["shards"], record["shards_sha256"], strict=True))
    if started_on.keys() != set(data.sources.values()):
        raise TrainerError(
            f"{run} was started on {', '.join(sorted(started_on))}, not on "
            f"{', '.join(sorted(data.sources.values()))}. Leave the argument out, or start a new "
            "run without --resume."
        )
    for folder, source in data.sources.items():
        if fingerprint(folder) != started_on[source]:
            raise TrainerError(
                f"{source} was built anew since {run} was started: its steps would see other "
                "videos. Start a new run without --resume."
            )
