import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from ascnet.commands.export import command
from tests.trainer.torchvision_shapes import torchvision_shapes
from trainer.backbones.all_backbones import make_backbone
from trainer.config import recipe_file
from trainer.config.settings import Config
from trainer.data.augment import MEAN, STD
from trainer.errors import TrainerError
from trainer.run.checkpoint import list_checkpoints, load_backbone
from trainer.run.provenance import code
from trainer.weights import export
from trainer.weights.load import load_weights


def make_run(run: Path, backbone: str) -> Path:
    """A run directory with a checkpoint of untrained weights after step 7."""
    settings = recipe_file.override(
        Config(recipe="mine"),
        (f"model.backbone={backbone}", "data.frames=4", "data.size=32"),
    )
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_text(recipe_file.dump(settings))
    weights = make_backbone(backbone).state_dict()
    model = {f"encoder.backbone.{name}": tensor for name, tensor in weights.items()}
    torch.save({"model": model, "step": 7}, run / "checkpoints" / "00000007.pt")
    return run


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory) -> Path:
    torch.manual_seed(3)
    return make_run(tmp_path_factory.mktemp("runs") / "run", "r3d-tiny")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return set(ours) == set(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize(
    ("name", "twin", "head"),
    [("r3d18", "r3d_18", "fc"), ("r2plus1d18", "r2plus1d_18", "fc"), ("s3d", "s3d", "classifier")],
)
def test_torchvision_s_keys(tmp_path, name, twin, head):
    run = make_run(tmp_path / "run", name)
    exported = export.export(run, "torchvision")
    assert exported.path == run / f"{name}-step7.pth"
    state = torch.load(exported.path, weights_only=True)
    shapes = {key: list(tensor.shape) for key, tensor in state.items()}
    assert shapes == {
        k: v for k, v in torchvision_shapes(twin).items() if not k.startswith(f"{head}.")
    }
    assert same(state, load_backbone(run).backbone.state_dict())
    assert f"torchvision.models.video.{twin}()" in exported.text
    assert f"classifier ({head}) is not among them" in exported.text
    assert "strict=False" in exported.text
    shutil.rmtree(run)  # large


def test_a_run_whose_clips_are_normalised_one_by_one_says_so(tiny_run, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = run / "config.toml"
    config.write_text(config.read_text().replace('normalise = "fixed"', 'normalise = "clip"'))
    exported = export.export(run, "safetensors")
    assert (
        "RGB in [0, 1], each clip less its own mean, over the clip's own deviation."
        in exported.text
    )
    with safe_open(exported.path, framework="pt") as file:
        facts = file.metadata()
    assert facts["normalise"] == "clip" and "mean" not in facts


def test_what_torchvision_does_not_have(tiny_run):
    with pytest.raises(
        TrainerError,
        match=r"torchvision has no r3d-tiny; it has r3d18, r2plus1d18, s3d. Use --to safetensors",
    ):
        export.export(tiny_run, "torchvision")
    assert not list(tiny_run.glob("r3d-tiny*"))


def test_safetensors(tiny_run, tmp_path):
    first = export.export(tiny_run, "safetensors", tmp_path / "new" / "a.safetensors").path
    second = export.export(tiny_run, "safetensors", tmp_path / "b.safetensors").path
    assert first.read_bytes() == second.read_bytes()
    trained = load_backbone(tiny_run)
    assert same(load_file(first), trained.backbone.state_dict())
    with safe_open(first, framework="pt") as file:
        facts = file.metadata()
    checkpoint = list_checkpoints(tiny_run)[-1]
    assert facts == {
        "backbone": "r3d-tiny",
        "channels": "128",
        "checkpoint_sha256": sha256(checkpoint.read_bytes()).hexdigest(),
        "code": code(),
        "format": "pt",
        "frames": "4",
        "mean": json.dumps(MEAN),
        "recipe": "mine",
        "size": "32",
        "std": json.dumps(STD),
        "step": "7",
    }
    backbone = make_backbone("r3d-tiny")
    assert load_weights(backbone, first).text() == f"loaded 72/72 tensors of {first}"


def test_weights_in_16_bits(tiny_run, tmp_path):
    whole = export.export(tiny_run, "safetensors", tmp_path / "whole.safetensors").path
    half = export.export(tiny_run, "safetensors", tmp_path / "half.safetensors", half=True).path
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    ours, theirs = load_file(whole), load_file(half)
    assert {tensor.dtype for tensor in theirs.values() if tensor.dim() > 1} == {torch.float16}
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name].to(tensor), tensor, rtol=1e-3, atol=1e-4)
    load_weights(make_backbone("r3d-tiny"), half)


def test_what_16_bits_cannot_hold(tiny_run, tmp_path, monkeypatch):
    with pytest.raises(TrainerError, match="--half goes with --to safetensors"):
        export.export(tiny_run, "torchvision", half=True)
    trained = load_backbone(tiny_run)
    name = next(n for n, t in trained.backbone.state_dict().items() if t.dim() > 1)
    with torch.no_grad():
        trained.backbone.get_parameter(name).fill_(70000)
    monkeypatch.setattr(export, "load_backbone", lambda run: trained)
    with pytest.raises(TrainerError, match=f"{name} has a weight of 70000"):
        export.export(tiny_run, "safetensors", tmp_path / "x.safetensors", half=True)
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.slow
def test_onnxruntime_leaves_no_traces(tiny_run, tmp_path):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "x.onnx"
    places = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    unset = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    words = ["export", tiny_run, "--to", "onnx", "--out", out]
    command = [sys.executable, "-m", "ascnet", *map(str, words)]
    subprocess.run(command, env=kept | places, capture_output=True, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [out]


@pytest.mark.slow
def test_onnx(tiny_run):
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    exported = export.export(tiny_run, "onnx")
    assert exported.path == tiny_run / "r3d-tiny-step7.onnx"
    assert not list(tiny_run.glob("*.partial"))

    session = runtime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    clips = torch.randn(3, 3, 4, 32, 32)
    features = session.run(["features"], {"clips": clips.numpy()})[0]
    with torch.inference_mode():
        ours = load_backbone(tiny_run).backbone.eval()(clips).mean(dim=(2, 3, 4))
    torch.testing.assert_close(torch.from_numpy(features), ours, rtol=1e-3, atol=1e-5)
    assert session.get_inputs()[0].shape[1:] == [3, 4, 32, 32]
    assert isinstance(session.get_inputs()[0].shape[0], str)  # free

    said = re.search(r"largest difference is (\S+), the largest feature (\S+)\.", exported.text)
    assert float(said[1]) < 1e-4 * float(said[2])
    assert str(Path(export.__file__).parent).encode() not in exported.path.read_bytes()
    props = {p.key: p.value for p in onnx.load(exported.path).metadata_props}
    assert props == export.facts(load_backbone(tiny_run))


@pytest.mark.slow
def test_an_onnx_model_that_computes_something_else(tiny_run, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export, "_BOUND", -1.0)
    with pytest.raises(TrainerError, match=r"differ from torch's by up to .* No file was written"):
        export.export(tiny_run, "onnx", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages(tiny_run, tmp_path, monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(TrainerError, match=r"package onnx, .*: pip install 'ascnet\[onnx\]'"):
        export.export(tiny_run, "onnx", tmp_path / "x.onnx")


def test_a_format_that_is_not_there(tiny_run):
    with pytest.raises(TrainerError, match=r"'tflite'; allowed: torchvision, safetensors, onnx\."):
        export.export(tiny_run, "tflite")


def test_files_that_are_there_are_kept(tiny_run, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("mine")
    with pytest.raises(TrainerError, match=r"x\.safetensors is there already\. Add --overwrite"):
        export.export(tiny_run, "safetensors", path)
    assert path.read_text() == "mine"
    export.export(tiny_run, "safetensors", path, overwrite=True)
    assert load_file(path)
    with pytest.raises(TrainerError, match=r"is a folder\. Name a file, such as .*r3d-tiny\.onnx"):
        export.export(tiny_run, "onnx", tmp_path, overwrite=True)


def test_the_command(finished_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "run").symlink_to(finished_run)
    monkeypatch.chdir(tmp_path)
    out = ["--out", "x.safetensors"]
    result = CliRunner().invoke(command, ["--to", "safetensors", *out], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "x.safetensors"
    assert lines[1].startswith("The 72 tensors of r3d-tiny")
    assert lines[-1].startswith("Clips go in as float32 N x 3 x 4 x 16 x 16, RGB in [0, 1]")
    assert same(load_file("x.safetensors"), load_backbone(finished_run).backbone.state_dict())

    asked = [str(finished_run), "--to", "safetensors", *out]
    assert isinstance(CliRunner().invoke(command, asked).exception, TrainerError)
    assert CliRunner().invoke(command, [*asked, "--overwrite"]).exit_code == 0
    assert CliRunner().invoke(command, [str(finished_run)]).exit_code == 2  # no --to
