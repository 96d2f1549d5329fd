"""preprocessor_config in all its forms, those of old files too, and what is refused."""

import json
from pathlib import Path

import pytest

from evaluate.errors import EvaluateError
from evaluate.hugging_face.preprocessing import (
    Preprocessing,
    PreprocessorFile,
    preprocessing_of,
    preprocessor_file,
)

MEAN, STD = [0.48, 0.45, 0.4], [0.22, 0.23, 0.24]
CHANNELS = {"image_mean": MEAN, "image_std": STD}
SQUARE = {"height": 224, "width": 224}
FILE = Path("preprocessor_config.json")


def said(values: dict, offset: bool = False) -> Preprocessing:
    return preprocessing_of(PreprocessorFile(FILE, values), offset)


@pytest.mark.parametrize(
    ("values", "sides"),
    [
        ({"size": 224}, (224, 224)),
        ({"size": SQUARE}, (224, 224)),
        ({"size": SQUARE, "do_center_crop": None, "crop_size": None}, (224, 224)),
        ({"size": {"shortest_edge": 256, "longest_edge": None}, "crop_size": SQUARE}, (256, 224)),
        ({"size": {"shortest_edge": 292}, "crop_size": 256, "do_center_crop": True}, (292, 256)),
        ({"size": {"shortest_edge": 292}, "crop_size": 256, "do_center_crop": False}, (292, 292)),
        ({"size": 384, "do_center_crop": True, "feature_extractor_type": "x"}, (384, 384)),
        ({"max_num_patches": 256, "patch_size": 16}, (256, 256)),
        ({"max_num_patches": 300, "patch_size": 16}, (272, 272)),
    ],
)
def test_sizes(values: dict, sides: tuple[int, int]) -> None:
    pixels = said(CHANNELS | values)
    assert (pixels.resize, pixels.crop) == sides
    assert pixels.mean == tuple(MEAN) and pixels.std == tuple(STD)


@pytest.mark.parametrize(
    ("values", "offset", "black_and_white"),
    [
        ({}, False, (0, 1)),
        ({"rescale_factor": 1 / 255}, False, (0, 1)),
        ({"do_rescale": False}, True, (0, 255)),
        ({"rescale_factor": 1 / 127.5}, True, (-1, 1)),
        ({"rescale_factor": 1 / 127.5, "offset": True}, False, (-1, 1)),
        ({"rescale_factor": 1 / 127.5, "offset": False}, True, (0, 2)),
    ],
)
def test_the_range_of_values(values: dict, offset: bool, black_and_white: tuple) -> None:
    pixels = said({"size": 224} | CHANNELS | values, offset)
    assert pixels.value_range == pytest.approx(black_and_white, abs=1e-12)


def test_no_mean_and_one_number_for_all_channels() -> None:
    pixels = said({"size": 224, "do_normalize": False})
    assert pixels.mean == (0, 0, 0) and pixels.std == (1, 1, 1)
    pixels = said({"size": 224, "image_mean": 0.5, "image_std": 0.25})
    assert pixels.mean == (0.5,) * 3 and pixels.std == (0.25,) * 3


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": None}, "size is null; it takes 224"),
        ({"size": {"height": 224, "width": 336}}, 'size is {"height": 224, "width": 336}; it'),
        ({"size": {"longest_edge": 224}}, 'size is {"longest_edge": 224}; it takes 224, {"short'),
        ({"size": 0}, "size is 0; it takes"),
        ({"size": True}, "size is true; it takes"),
        ({"crop_size": {"shortest_edge": 224}}, 'crop_size is {"shortest_edge": 224}; it takes'),
        ({"crop_size": 256}, "crop_size 256 is larger than size 224; it must not be"),
        ({"do_resize": False}, "do_resize is false; as videos have frames of many sizes"),
        ({"do_normalize": "yes"}, 'do_normalize is "yes"; it takes true or false'),
        ({"rescale_factor": -1}, "rescale_factor is -1; it takes a number above 0"),
        ({"image_mean": None}, "image_mean is null; it takes three numbers"),
        ({"image_std": [1, 1]}, "image_std is [1, 1]; it takes three numbers"),
        ({"image_std": [1, 1, float("nan")]}, "image_std is [1, 1, NaN]; it takes three"),
        ({"size": None, "max_num_patches": 256}, "patch_size is None; it takes a whole number"),
    ],
)
def test_what_has_no_meaning_here(values: dict, text: str) -> None:
    with pytest.raises(EvaluateError) as caught:
        said({"size": 224} | CHANNELS | values)
    assert str(caught.value).startswith(f"{FILE}: {text}") and "\n" not in str(caught.value)


def test_which_file_speaks_of_frames(tmp_path: Path) -> None:
    with pytest.raises(EvaluateError, match="does not say how to prepare frames: it has none of"):
        preprocessor_file(tmp_path)
    both = {"image_processor": {"size": 1}, "video_processor": {"size": 2}}
    for name, values, size in (
        ("processor_config.json", {"image_processor": {"size": 1}}, 1),
        ("processor_config.json", both, 2),
        ("preprocessor_config.json", {"size": 3}, 3),
        ("video_preprocessor_config.json", {"size": 4}, 4),
    ):
        (tmp_path / name).write_text(json.dumps(values))
        file = preprocessor_file(tmp_path)
        assert file.path == tmp_path / name and file.values["size"] == size


@pytest.mark.parametrize(("text", "what"), [("{", "is not JSON"), ("[]", "contains a list;")])
def test_a_file_that_is_none(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(EvaluateError, match=rf"preprocessor_config\.json {what}"):
        preprocessor_file(tmp_path)
