"""Names and shapes, in order, of the state dicts of torchvision's models, classifiers included."""

import json
from pathlib import Path

# For each layer, the shape of its weights, or for a batch norm its number of channels.
_LAYERS = json.loads(Path(__file__).with_name("torchvision_layers.json").read_text())
_NORM = ("weight", "bias", "running_mean", "running_var")
_BIASED = ("fc", "classifier.1")


def torchvision_shapes(model: str) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for name, sides in _LAYERS[model].items():
        if isinstance(sides, int):
            shapes |= {f"{name}.{kind}": [sides] for kind in _NORM}
            shapes[f"{name}.num_batches_tracked"] = []
        else:
            shapes[f"{name}.weight"] = sides
            if name in _BIASED:
                shapes[f"{name}.bias"] = sides[:1]
    return shapes
