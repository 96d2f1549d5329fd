"""The commands that are disturbed, and the results of each."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.drills.scene import BUILD, SETTINGS, Scene, ascnet, succeeded
from tests.evaluate.stores import content
from trainer.run.checkpoint import list_checkpoints
from trainer.run.log import LOG_FILE, TIMES

Result = dict[str, Any]
_HOUR = 3600  # seconds
_FINETUNE = ("classifier.epochs=4.0", "classifier.batch=4", "classifier.workers=1")


@dataclass(frozen=True)
class Job:
    """A command of `ascnet`, repeated until it is done.

    Attributes:
        words: arguments of `ascnet`, run in a folder that `prepare` has filled
        result: reads its results, which must not depend on disturbances
    """

    name: str
    words: tuple[object, ...]
    result: Callable[[Path], Result]
    prepare: Callable[[Path], object] = lambda folder: None


def jobs_of(scene: Scene) -> list[Job]:
    """Jobs of all long commands, with several kinds of training and evaluation."""

    def copy_run(folder: Path) -> None:
        shutil.copytree(scene.run, folder / "run")

    def embed(folder: Path) -> None:
        copy_run(folder)
        words = ("embed", scene.videos, "--run", "run", "--every", 0.5, "--out", "x.h5")
        succeeded(ascnet(*words, cwd=folder))

    build = ("build", "folder", "--source", scene.videos, *BUILD, "--out", "out")
    train = ("train", scene.shards, *SETTINGS, "--run", "run", "--resume")
    evaluate = ("evaluate", "--run", "run", "--shards", scene.shards, "--no-baseline")
    add = ("embed", "--add", scene.more, "--run", "run", "--out", "x.h5")
    changes = [word for change in _FINETUNE for word in ("--set", change)]
    return [
        Job("build", build, lambda folder: _files(folder / "out")),
        Job("train", train, _trained),
        Job("train, streamed", (*train, "--set", "data.streaming=true"), _trained),
        Job("evaluate", (*evaluate, "--task", "linear"), _evaluated, copy_run),
        Job("finetune", (*evaluate, "--task", "finetune", *changes), _results, copy_run),
        Job("embed --add", add, _stored, embed),
    ]


def newest_job(scene: Scene) -> Job:
    """A job that is told no run and no store, and takes the newest of two each."""

    def prepare(folder: Path) -> None:
        older, newer = folder / "runs" / "older", folder / "runs" / "newer"
        shutil.copytree(scene.run, newer)
        shutil.copytree(scene.run, older)
        list_checkpoints(older)[-1].unlink()
        for path in older.rglob("*"):
            date = path.stat().st_mtime - _HOUR
            os.utime(path, (date, date))
        for videos in (scene.more, scene.videos):
            succeeded(ascnet("embed", videos, "--run", newer, "--every", 0.5, cwd=folder))

    def stores(folder: Path) -> Result:
        found = sorted((folder / "runs").glob("*/features/*.h5"))
        return {
            f"{path.relative_to(folder)}: {key}": value
            for path in found
            for key, value in _store(path).items()
        }

    return Job("embed --add to the newest", ("embed", "--add", scene.more), stores, prepare)


def _files(folder: Path) -> Result:
    """Contents of all files except locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _trained(folder: Path) -> Result:
    """Contents of the kept checkpoints (weights, optimiser, memory bank), and the lines of the log
    without times."""
    run = folder / "run"
    lines = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
    kept = {path.name: path.read_bytes() for path in (run / "checkpoints").glob("*.pt")}
    return kept | {LOG_FILE: [{k: v for k, v in x.items() if k not in TIMES} for x in lines]}


def _results(folder: Path) -> Result:
    results = (folder / "run" / "results").glob("*.json")
    return {path.name: _without_time(json.loads(path.read_text())) for path in results}


def _without_time(value: Any) -> Any:
    """A result without durations and paths."""
    if isinstance(value, dict):
        passing = ("seconds", "run", "store", "stores")
        return {k: _without_time(v) for k, v in value.items() if k not in passing}
    return value


def _evaluated(folder: Path) -> Result:
    (store,) = (folder / "run" / "features").glob("*-trained.h5")
    return _results(folder) | content(store)


def _stored(folder: Path) -> Result:
    return _store(folder / "x.h5")


def _store(path: Path) -> Result:
    """Contents of a store, and of the shards beside it."""
    known = {k: v for k, v in content(path).items() if "shards" not in k}
    shards = _files(path.with_suffix(".shards"))
    return known | {k: v for k, v in shards.items() if k.endswith(".tar")}
