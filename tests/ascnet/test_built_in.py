"""The network that comes with the package."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import ascnet
from ascnet.built_in import BUILT_IN, NOTE, RECIPE, WEIGHTS
from ascnet.encoders import EncoderChoice
from tests.commands import run_ascnet
from trainer.config.recipe_file import load_recipe
from trainer.errors import TrainerError


def says(*words: object) -> str:
    done = run_ascnet(*words, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_says_what_it_is() -> None:
    settings = load_recipe(RECIPE)
    with safe_open(WEIGHTS, framework="pt") as file:
        facts = file.metadata()
    assert facts["recipe"] == RECIPE and facts["step"] == str(settings.optim.steps)
    assert facts["backbone"] == settings.model.backbone and "+" in facts["code"]
    assert WEIGHTS.stat().st_size < 2_000_000
    clip = torch.rand(1, 3, 8, 32, 32)
    assert ascnet.load_backbone(BUILT_IN)(clip).isfinite().all()


def test_embed_and_search_without_a_run(
    make_video, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for pattern in ("testsrc", "smptebars", "mandelbrot"):
        make_video(tmp_path / "videos" / f"{pattern}.mp4", pattern=pattern, frames=50)
    text = says("embed", "videos")
    store = Path("runs/weights-built-in/features/videos-1s.h5")
    assert NOTE in text and store.is_file() and f"--store {store} --weights built-in" in text
    found = says("search", "videos/testsrc.mp4", "-k", 1)
    assert NOTE in found and "testsrc" in found.splitlines()[1]
    shutil.copytree(finished_run, tmp_path / "runs" / "mine")  # later there is a run, too
    (tmp_path / "runs" / "mine" / "checkpoints").rename(tmp_path / "not yet")
    assert EncoderChoice().or_default() == EncoderChoice(weights=Path(BUILT_IN))
    (tmp_path / "not yet").rename(tmp_path / "runs" / "mine" / "checkpoints")
    assert EncoderChoice().or_default() == EncoderChoice(run=Path("runs/mine"))
    assert EncoderChoice().or_default(store) == EncoderChoice(weights=Path(BUILT_IN))
    assert NOTE in says("search", "videos/testsrc.mp4", "--store", store, "-k", 1)


def test_evaluation_does_not_fall_back_on_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainerError, match="No trained run in runs/"):
        EncoderChoice().or_newest_run()
