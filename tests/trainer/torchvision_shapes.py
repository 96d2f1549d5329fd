"""The state dicts of torchvision's own models, classifiers included: names and shapes, in order."""

import json
from pathlib import Path

# Of each layer that has weights their shape, or of a batch norm its channels.
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
