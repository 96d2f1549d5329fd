"""Read a model's preprocessing from its preprocessor_config: size, crop, value range, mean and
std."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.errors import EvaluateError
from evaluate.own_encoder import Numbers

Values = Mapping[str, Any]  # of a JSON object
_FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
_PARTS = ("video_processor", "image_processor")  # of processor_config.json, which may hold both
_RESCALE_FACTOR = 1 / 255  # default of transformers


@dataclass(frozen=True)
class Preprocessing:
    """How frames are prepared for a model.

    Attributes:
        resize: short side of the resized frames, in pixels
        crop: side of the square in their middle that the model sees, in pixels
        value_range: values of black and white before `mean` and `std` are applied
        mean: subtracted from the values of each channel
        std: by which each channel is divided afterwards
    """

    resize: int
    crop: int
    value_range: tuple[float, float]
    mean: Numbers
    std: Numbers


@dataclass(frozen=True)
class PreprocessorFile:
    """The part of a preprocessor file that describes frames.

    Attributes:
        path: path of the file, for messages
        values: content of the JSON object
    """

    path: Path
    values: Values

    def error(self, text: str) -> EvaluateError:
        """An error whose message names the file: "FILE: `text`"."""
        return EvaluateError(f"{self.path}: {text}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises EvaluateError if the file cannot be read or has something else."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise EvaluateError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise EvaluateError(f"{path} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise EvaluateError(
            f"{path} contains a {type(values).__name__}; it must contain an object."
        )
    return values


def preprocessor_file(folder: Path) -> PreprocessorFile:
    """The first of _FILES that exists. Raises EvaluateError if there is none."""
    for path in (folder / name for name in _FILES):
        if path.is_file():
            values = read_json(path)
            if path.name != _FILES[-1]:
                return PreprocessorFile(path, values)
            for part in _PARTS:
                if isinstance(values.get(part), dict):
                    return PreprocessorFile(path, values[part])
    raise EvaluateError(
        f"{folder} does not say how to prepare frames: it has none of {', '.join(_FILES)}. Copy "
        "the one that was published with the model."
    )


def preprocessing_of(file: PreprocessorFile, offset: bool = False) -> Preprocessing:
    """Interpret a preprocessor file. `offset` is the default for whether 1 is subtracted from the
    rescaled values. Raises EvaluateError for missing or unsupported values."""
    resize, crop = _sizes(file)
    black, white = _value_range(file, offset)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if _flag(file, "do_normalize", True):
        mean, std = _channels(file, "image_mean"), _channels(file, "image_std")
    return Preprocessing(resize, crop, (black, white), mean, std)


def _sizes(file: PreprocessorFile) -> tuple[int, int]:
    """Short side of the resized frames and side of the centre crop, in pixels."""
    values = file.values
    if not _flag(file, "do_resize", True):
        raise file.error(
            "do_resize is false; as videos have frames of many sizes, it must be true, with a size."
        )
    if values.get("size") is None and values.get("max_num_patches") is not None:
        resize = _of_patches(file)
    else:
        resize = _side(file, "size", ("shortest_edge",))
    if not _flag(file, "do_center_crop", values.get("crop_size") is not None):
        return resize, resize
    # In older files without a crop size, `size` is also the size of the crop.
    crop = resize if values.get("crop_size") is None else _side(file, "crop_size")
    if crop > resize:
        raise file.error(f"crop_size {crop} is larger than size {resize}; it must not be.")
    return resize, crop


def _of_patches(file: PreprocessorFile) -> int:
    """Side, in pixels, of the largest square within the maximum number of patches."""
    patches, pixels = (_whole(file, name) for name in ("max_num_patches", "patch_size"))
    return math.isqrt(patches) * pixels


def _whole(file: PreprocessorFile, name: str) -> int:
    value = file.values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise file.error(f"{name} is {value!r}; it takes a whole number of 1 or more.")
    return value


def _side(file: PreprocessorFile, name: str, also: tuple[str, ...] = ()) -> int:
    """Pixels given as 224, {"height": 224, "width": 224} or {"shortest_edge": 224}."""
    value = file.values.get(name)
    forms = ({"height", "width"}, *({key} for key in also))
    sides: set[object] = set()
    if isinstance(value, dict):
        named = {key: side for key, side in value.items() if side is not None}
        sides = set(named.values()) if set(named) in forms else set()
    elif value is not None:
        sides = {value}
    side = next(iter(sides)) if len(sides) == 1 else None
    if not isinstance(side, int) or isinstance(side, bool) or side < 1:
        edge = ', {"shortest_edge": 224}' * bool(also)
        raise file.error(
            f'{name} is {json.dumps(value)}; it takes 224{edge} or {{"height": 224, "width": 224}} '
            "(a square)."
        )
    return side


def _value_range(file: PreprocessorFile, offset: bool) -> tuple[float, float]:
    if not _flag(file, "do_rescale", True):
        return 0.0, 255.0
    factor = file.values.get("rescale_factor")
    factor = _RESCALE_FACTOR if factor is None else factor
    if not _is_number(factor) or factor <= 0:
        raise file.error(f"rescale_factor is {factor!r}; it takes a number above 0.")
    black = -1.0 if _flag(file, "offset", offset) else 0.0
    return black, 255 * factor + black


def _channels(file: PreprocessorFile, name: str) -> Numbers:
    value = file.values.get(name)
    numbers = [value] * 3 if _is_number(value) else value
    if not isinstance(numbers, list) or len(numbers) != 3 or not all(map(_is_number, numbers)):
        raise file.error(f"{name} is {json.dumps(value)}; it takes three numbers.")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flag(file: PreprocessorFile, name: str, default: bool) -> bool:
    value = file.values.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise file.error(f"{name} is {json.dumps(value)}; it takes true or false.")
    return value
