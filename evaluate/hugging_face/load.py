"""Load hf:DIRECTORY or hf:NAME as an encoder, with transformers."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from hashlib import sha256
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evaluate.encoder_file import LoadedEncoder
from evaluate.errors import EvaluateError, EvaluateUsageError
from evaluate.hugging_face.families import FAMILIES, IMAGE_FPS, IMAGE_FRAMES, Family
from evaluate.hugging_face.preprocessing import (
    Preprocessing,
    Values,
    preprocessing_of,
    preprocessor_file,
    read_json,
)
from evaluate.own_encoder import Encoder, what_was_raised

HF = "hf:"
FORM = "hf:DIRECTORY_OR_NAME"
_CONFIG = "config.json"
_SAFETENSORS, _PICKLES = ("*.safetensors", "*.safetensors.index.json"), ("pytorch_model*.bin*",)
_SEED = 0  # of the untrained network


def load_hugging_face(text: str) -> LoadedEncoder:
    """Load the model from a directory written by `save_pretrained`, or by its name on the Hugging
    Face hub, from where it is downloaded into the cache if necessary. None of the model's own code
    is run, and only tensors are unpickled. Raises EvaluateError if transformers is missing, if
    there is no such model, if its type is not among FAMILIES, or if its files lack weights."""
    _must_leave_pillow_simd()
    transformers = _imported("transformers")
    folder = _folder(text)
    config = read_json(folder / _CONFIG)
    family = _family(folder, config)
    file = preprocessor_file(folder)
    pixels = preprocessing_of(file, family.offset)
    title = HF + named(text)
    made = _model_class(transformers, family, config)
    model = _loaded(made, family, folder, title)
    share = pixels.crop / pixels.resize
    encoder = _encoder(family, model, pixels, folder)

    def untrained() -> nn.Module:
        torch.manual_seed(_SEED)
        return family.network(made(deepcopy(model.config)), share)

    said = (folder / _CONFIG).read_bytes() + file.path.read_bytes()
    place = folder.resolve() if _is_folder(text) else text.removeprefix(HF)
    facts = {"config_sha256": sha256(said).hexdigest()}
    return LoadedEncoder(encoder, title, folder, f"{HF}{place}", facts, untrained)


def named(text: str) -> str:
    """Short name of a model: "videomae-base" for "hf:MCG-NJU/videomae-base"."""
    return Path(text.removeprefix(HF)).expanduser().resolve().name


def _must_leave_pillow_simd() -> None:
    with suppress(metadata.PackageNotFoundError):
        versions = [metadata.version(name) for name in ("pillow", "pillow-simd")]
        raise EvaluateError(
            f"Pillow {versions[0]} and pillow-simd {versions[1]} are both installed and have "
            "overwritten each other's files, which transformers would load. `ascnet doctor` says "
            "how to fix it."
        )


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        why = "is not installed" if missing else f"cannot be imported ({error})"
        raise EvaluateError(
            f"{name} {why}; models of Hugging Face require it: pip install 'ascnet[hf]'."
        ) from error


def _is_folder(text: str) -> bool:
    return Path(text.removeprefix(HF)).expanduser().is_dir()


def _folder(text: str) -> Path:
    name = text.removeprefix(HF)
    if not name:
        raise EvaluateUsageError(
            f"--encoder is {text!r}; it takes {FORM}, such as hf:models/vjepa2."
        )
    if _is_folder(text):
        return Path(name).expanduser()
    return _downloaded(name)


def _downloaded(name: str) -> Path:
    """The folder of a downloaded model. Safetensors are preferred to pickled weights."""
    hub, errors = _imported("huggingface_hub"), import_module("huggingface_hub.errors")
    try:
        for weights in (_SAFETENSORS, _PICKLES):
            patterns = ["*config.json", *weights]
            folder = Path(hub.snapshot_download(name, allow_patterns=patterns))
            if any(folder.glob(weights[0])):
                return folder
    except errors.HFValidationError as error:
        raise EvaluateError(
            f"There is no directory {name}, nor is it a valid name of a model on the Hugging Face "
            "hub, such as MCG-NJU/videomae-base."
        ) from error
    except errors.GatedRepoError as error:
        raise EvaluateError(
            f"{name} requires that you accept its licence on its page of the Hugging Face hub, "
            "then run `hf auth login`."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise EvaluateError(
            f"There is no directory {name}, and no model of this name on the Hugging Face hub (or "
            "it is private: `hf auth login`)."
        ) from error
    except Exception as error:  # no network, a proxy's answer, a full disk
        raise EvaluateError(
            f"There is no directory {name}, and the model of this name cannot be downloaded from "
            f"the Hugging Face hub: {what_was_raised(error.__cause__ or error, Path(name))}. Run "
            "`hf download` on a machine with a network, and copy the directory here."
        ) from error
    raise EvaluateError(
        f"{name} has neither safetensors nor pytorch_model.bin on the Hugging Face hub, so there "
        "are no weights for PyTorch."
    )


def _family(folder: Path, config: Values) -> Family:
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise EvaluateError(
            f"{folder / _CONFIG}: model_type is {kind!r}; supported are {', '.join(FAMILIES)}. "
            "Describe another in a file of your own: --encoder FILE.py:NAME (docs/extending.md)."
        )
    return FAMILIES[str(kind)]


def _model_class(transformers: Any, family: Family, config: Values) -> Callable[..., Any]:
    is_classifier = family.classifier in (config.get("architectures") or ())
    name = family.classifier if is_classifier else family.model
    made: Callable[..., Any] | None = getattr(transformers, name, None)
    if made is None:
        raise EvaluateError(
            f"transformers {transformers.__version__} has no {name}; install a newer one: "
            "pip install -U transformers."
        )
    return made


def _loaded(made: Any, family: Family, folder: Path, title: str) -> Any:
    """Load the model in float32 on the CPU. Missing weights are an error: transformers would draw
    them at random."""
    logging = import_module("transformers.utils.logging")
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = made.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported by _must_be_whole
        )
    except Exception as error:  # reading the files may raise any exception
        raise EvaluateError(
            f"{title} cannot be loaded from {folder}: {what_was_raised(error, folder)}."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
    _must_be_whole(model, report, family, folder)
    return model


def _must_be_whole(model: nn.Module, report: Values, family: Family, folder: Path) -> None:
    """Check that the files have every weight that affects the features, in the shape given by the
    config."""
    for name, there, wanted in sorted(report["mismatched_keys"], key=str):
        if not name.startswith(family.unused):
            shapes = [" x ".join(map(str, shape)) for shape in (there, wanted)]
            raise EvaluateError(
                f"{folder}: {name} is {shapes[0]} in the weight files, but {shapes[1]} by "
                f"{_CONFIG}; use the files of one model."
            )
    missing = sorted(n for n in report["missing_keys"] if not n.startswith(family.unused))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise EvaluateError(
            f"{folder} lacks weights of a {type(model).__name__}: {missing[0]}{more}. They would "
            "be random; use the directory of a complete model."
        )


def _encoder(family: Family, model: Any, pixels: Preprocessing, folder: Path) -> Encoder:
    frames, fps = IMAGE_FRAMES, IMAGE_FPS
    if family.frames:
        frames, fps = getattr(model.config, family.frames), family.fps
    try:
        return Encoder(
            family.network(model, pixels.crop / pixels.resize),
            frames=frames,
            size=pixels.resize,
            stride=family.stride(frames),
            fps=fps,
            value_range=pixels.value_range,
            mean=pixels.mean,
            std=pixels.std,
            gives="tokens",
            class_token=family.class_token,
        )
    except EvaluateError as error:
        raise EvaluateError(f"{folder}: {error}") from error
