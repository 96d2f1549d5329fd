"""Models of Hugging Face: small random ones are saved, loaded without a network and compared with
transformers' own forward pass; what cannot be loaded is refused."""

import json
import os
import socket
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evaluate.encoders import of_encoder
from evaluate.errors import EvaluateError
from evaluate.features.encode import Pooled, to_device
from evaluate.hugging_face.families import FAMILIES
from evaluate.hugging_face.load import load_hugging_face
from trainer.data.augment import square_crop
from trainer.data.packed_clips import PackedClips

RESIZE, CROP = 36, 32
MEAN, STD = [0.48, 0.45, 0.4], [0.22, 0.23, 0.24]
PREPROCESSOR = {
    "size": {"shortest_edge": RESIZE},
    "crop_size": {"height": CROP, "width": CROP},
    "image_mean": MEAN,
    "image_std": STD,
}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TOWER = {"image_size": CROP, "patch_size": 16, "intermediate_size": 24, **SMALL}
WORDS = {"vocab_size": 9, "bos_token_id": 0, "eos_token_id": 1, "intermediate_size": 24, **SMALL}
DINOV2 = {"image_size": CROP, "patch_size": 16, "mlp_ratio": 2, **SMALL}
VJEPA2 = {"crop_size": CROP, "patch_size": 16, "frames_per_clip": 4, **SMALL} | {
    "pred_hidden_size": 8,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": 1,
    "num_pooler_layers": 1,
}
CLIPS = TOWER | {"num_frames": 4}
VIVIT = CLIPS | {"tubelet_size": [2, 16, 16]}
TOWERS = {"text_config": WORDS, "vision_config": TOWER}


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Without a network, and with a cache that is empty."""
    module = pytest.importorskip("transformers", reason="ascnet[hf] is not installed")
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*words: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return module


def made(transformers: Any, name: str, config: str, **values: Any) -> nn.Module:
    """One whose weights are all random, so that each of them counts."""
    model = getattr(transformers, name)(getattr(transformers, config)(**values)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.2, generator=generator)
    return model


def saved(model: Any, folder: Path, **preprocessor: object) -> str:
    """What --encoder takes."""
    model.save_pretrained(folder)
    text = json.dumps(PREPROCESSOR | preprocessor)
    (folder / "preprocessor_config.json").write_text(text)
    return f"hf:{folder}"


def prepared(frames: torch.Tensor, offset: bool = False) -> torch.Tensor:
    """N x T x 3 x CROP x CROP, by transformers' own arithmetic."""
    from transformers import image_transforms  # noqa: PLC0415

    images = []
    for image in frames.flatten(0, 1).numpy():
        x = image_transforms.center_crop(image, (CROP, CROP)).astype("float64")
        x = image_transforms.rescale(x, 1 / 127.5) - 1 if offset else x / 255
        x = image_transforms.normalize(x, MEAN, STD, input_data_format="channels_last")
        images.append(torch.from_numpy(x).float().movedim(-1, 0))
    return torch.stack(images).unflatten(0, frames.shape[:2])


def of_head(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What a model's own classifier is given."""
    inputs: list[torch.Tensor] = []
    model.classifier.register_forward_hook(lambda module, given, out: inputs.append(given[0]))
    model(pixels)
    return inputs[0]


def of_frames(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    pooled = tower(pixels.flatten(0, 1)).pooler_output
    return pooled.unflatten(0, pixels.shape[:2]).mean(1)


def of_patches(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """SigLIP 2's for any aspect ratio: its images are rows of patches."""
    p = tower.config.patch_size
    side = CROP // p
    rows = [
        frame[:, y * p : (y + 1) * p, x * p : (x + 1) * p].movedim(0, -1).flatten()
        for frame in pixels.flatten(0, 1)
        for y in range(side)
        for x in range(side)
    ]
    patches = torch.stack(rows).unflatten(0, (-1, side * side))
    mask = torch.ones(patches.shape[:2], dtype=torch.int32)
    shapes = torch.full((len(patches), 2), side)
    pooled = tower(patches, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output
    return pooled.unflatten(0, pixels.shape[:2]).mean(1)


MODELS = {
    "VideoMAE": (
        ("VideoMAEModel", "VideoMAEConfig", CLIPS),
        lambda model, pixels: model(pixels).last_hidden_state.mean(1),
    ),
    "VideoMAE, pre-trained": (
        ("VideoMAEForPreTraining", "VideoMAEConfig", CLIPS),
        lambda model, pixels: model.videomae(pixels).last_hidden_state.mean(1),
    ),
    "VideoMAE, fine-tuned": (
        ("VideoMAEForVideoClassification", "VideoMAEConfig", CLIPS),
        of_head,
    ),
    "V-JEPA 2": (
        ("VJEPA2Model", "VJEPA2Config", VJEPA2),
        lambda model, pixels: model.get_vision_features(pixels).mean(1),
    ),
    "V-JEPA 2, fine-tuned": (
        ("VJEPA2ForVideoClassification", "VJEPA2Config", VJEPA2),
        lambda model, pixels: model.vjepa2.get_vision_features(pixels).mean(1),
    ),
    "TimeSformer": (("TimesformerForVideoClassification", "TimesformerConfig", CLIPS), of_head),
    "ViViT": (("VivitForVideoClassification", "VivitConfig", VIVIT), of_head),
    "DINOv2": (("Dinov2Model", "Dinov2Config", DINOV2), of_frames),
    "DINOv2 with registers": (
        ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", DINOV2),
        of_frames,
    ),
    "DINOv3": (
        ("DINOv3ViTModel", "DINOv3ViTConfig", TOWER | {"num_register_tokens": 4}),
        of_frames,
    ),
    "DINOv3 ConvNeXt": (
        ("DINOv3ConvNextModel", "DINOv3ConvNextConfig", {"hidden_sizes": [4, 8, 8, 16]}),
        of_frames,
    ),
    "CLIP": (
        ("CLIPModel", "CLIPConfig", TOWERS),
        lambda model, pixels: of_frames(model.vision_model, pixels),
    ),
    "CLIP's vision tower": (("CLIPVisionModel", "CLIPVisionConfig", TOWER), of_frames),
    "SigLIP": (
        ("SiglipModel", "SiglipConfig", TOWERS),
        lambda model, pixels: of_frames(model.vision_model, pixels),
    ),
    "SigLIP 2, any aspect ratio": (
        ("Siglip2VisionModel", "Siglip2VisionConfig", TOWER | {"num_patches": 4}),
        of_patches,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_transformers(transformers, tmp_path: Path, name: str) -> None:
    (model_class, config, values), own = MODELS[name]
    model = made(transformers, model_class, config, **values)
    rescale = {"rescale_factor": 1 / 127.5} if name == "ViViT" else {}
    subjects = of_encoder(saved(model, tmp_path / "net", **rescale), tmp_path / "runs")
    network = Pooled(subjects.trained.backbone)
    to_device(network, torch.device("cpu"))
    data = subjects.settings.data
    assert data.size == RESIZE and data.frames == (4 if "num_frames" in values else data.frames)
    frames = torch.randint(256, (2, data.frames, RESIZE, RESIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = own(model, prepared(frames, offset=name == "ViViT"))
        features = network(square_crop(PackedClips.of(frames), RESIZE))
        assert features.shape == wanted.shape and wanted.std(0).max() > 1e-3
        assert torch.allclose(features, wanted, rtol=1e-5, atol=1e-5)
        untrained = Pooled(subjects.untrained.backbone.eval())
        fresh = untrained(square_crop(PackedClips.of(frames), RESIZE))
    assert fresh.isfinite().all() and not torch.allclose(fresh, wanted, atol=1e-2)


@pytest.mark.parametrize(
    ("model_class", "config", "values", "clip"),
    [
        ("VideoMAEModel", "VideoMAEConfig", CLIPS | {"num_frames": 16}, (16, 4, 0)),
        ("VJEPA2Model", "VJEPA2Config", VJEPA2 | {"frames_per_clip": 64}, (64, 1, 4)),
        ("TimesformerModel", "TimesformerConfig", CLIPS | {"num_frames": 8}, (8, 32, 0)),
        ("TimesformerModel", "TimesformerConfig", CLIPS | {"num_frames": 96}, (96, 4, 0)),
        ("VivitModel", "VivitConfig", VIVIT | {"num_frames": 32}, (32, 2, 0)),
        ("Dinov2Model", "Dinov2Config", DINOV2, (8, 1, 4)),
    ],
)
def test_clips_are_those_of_the_authors(
    transformers, tmp_path: Path, model_class: str, config: str, values: dict, clip: tuple
) -> None:
    model = made(transformers, model_class, config, **values)
    encoder = load_hugging_face(saved(model, tmp_path)).encoder
    assert (encoder.frames, encoder.stride, encoder.fps) == clip


@pytest.fixture
def dinov2(transformers, tmp_path: Path) -> Path:
    """A directory of a small model."""
    saved(made(transformers, "Dinov2Model", "Dinov2Config", **DINOV2), tmp_path / "net")
    return tmp_path / "net"


def test_what_it_is_known_by(dinov2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dinov2)
    first, again = (of_encoder(text, Path("runs")) for text in ("hf:.", f"hf:{dinov2}/"))
    facts = first.trained.facts
    assert facts == again.trained.facts and facts["backbone"] == "hf:net"
    assert first.record["encoder"] == again.record["encoder"] == f"hf:{dinov2}"
    assert first.folder == again.folder == Path("runs/encoder-hf-net")
    (dinov2 / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | {"resample": 3}))
    changed = of_encoder("hf:.", Path("runs")).trained.facts
    assert [key for key in facts if facts[key] != changed[key]] == ["config_sha256"]


def test_another_size_sees_as_much_of_the_frame(dinov2: Path) -> None:
    module = load_hugging_face(f"hf:{dinov2}").encoder.module
    sides = []
    module.model.embeddings.register_forward_pre_hook(lambda m, x: sides.append(x[0].shape[-1]))
    for size in (RESIZE, 2 * RESIZE):
        module(torch.randn(1, 3, 1, size, size))
    assert sides == [CROP, 2 * CROP]


def test_half_precision_is_computed_in_float32(transformers, tmp_path: Path) -> None:
    model = made(transformers, "Dinov2Model", "Dinov2Config", **DINOV2).bfloat16()
    module = load_hugging_face(saved(model, tmp_path)).encoder.module
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}


def test_pickled_weights_hold_tensors_only(dinov2: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    weights = safetensors.load_file(dinov2 / "model.safetensors")
    (dinov2 / "model.safetensors").unlink()
    torch.save(weights, dinov2 / "pytorch_model.bin")
    module = load_hugging_face(f"hf:{dinov2}").encoder.module
    assert torch.equal(module.model.layernorm.weight, weights["layernorm.weight"])
    torch.save(weights | {"x": Runs(dinov2 / "ran")}, dinov2 / "pytorch_model.bin")
    with pytest.raises(EvaluateError, match=r"^hf:net cannot be loaded from"):
        load_hugging_face(f"hf:{dinov2}")
    assert not (dinov2 / "ran").exists()


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_missing_weights_are_never_random(dinov2: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    file = dinov2 / "model.safetensors"
    weights = safetensors.load_file(file)
    del weights["layernorm.weight"], weights["layernorm.bias"]
    safetensors.save_file(weights, file, metadata={"format": "pt"})
    said = r"lacks weights of a Dinov2Model: layernorm\.bias and 1 more\. They would be random"
    with pytest.raises(EvaluateError, match=said):
        load_hugging_face(f"hf:{dinov2}")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", '{"model_type": "bert"}', "model_type is 'bert'; supported are videomae, "),
        ("config.json", "{}", "model_type is None; supported are"),
        ("config.json", None, "config.json cannot be read (No such file or directory)."),
        ("preprocessor_config.json", None, "does not say how to prepare frames"),
        ("preprocessor_config.json", '{"size": 32}', "image_mean is null; it takes three numbers"),
        ("model.safetensors", None, "hf:net cannot be loaded from"),
        ("model.safetensors", "none", "hf:net cannot be loaded from"),
    ],
)
def test_a_directory_that_is_no_whole_model(
    dinov2: Path, file: str, content: str | None, said: str
) -> None:
    (dinov2 / file).unlink()
    if content is not None:
        (dinov2 / file).write_text(content)
    with pytest.raises(EvaluateError) as caught:
        load_hugging_face(f"hf:{dinov2}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_shape(dinov2: Path) -> None:
    config = json.loads((dinov2 / "config.json").read_text())
    (dinov2 / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    said = r"cls_token is 1 x 1 x 16 in the weight files, but 1 x 1 x 32 by config\.json"
    with pytest.raises(EvaluateError, match=said):
        load_hugging_face(f"hf:{dinov2}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MCG-NJU/videomae-base", "cannot be downloaded from the Hugging Face hub"),
        ("/nowhere/to/be/found", "nor is it a valid name of a model on the Hugging Face hub"),
        ("", "it takes hf:DIRECTORY_OR_NAME"),
    ],
)
def test_a_model_that_is_not_here(transformers, name: str, said: str) -> None:
    with pytest.raises(EvaluateError) as caught:
        load_hugging_face(f"hf:{name}")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(EvaluateError, match=r"transformers .*: pip install 'ascnet\[hf\]'"):
        load_hugging_face("hf:anything")


def test_pillow_over_pillow_simd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "12.1.1")
    with pytest.raises(EvaluateError, match=r"Pillow 12\.1\.1 and pillow-simd .* `ascnet doctor`"):
        load_hugging_face("hf:anything")


def test_every_family_has_a_model_in_transformers(transformers) -> None:
    for family in FAMILIES.values():
        assert hasattr(transformers, family.model), family
