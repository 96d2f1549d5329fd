"""Translate other projects' names of weights to those of our backbones.

A layout is recognised by names that only it has. Values stay, and shapes do, but for RSPNet's
gates: they are 1x1x1 convolutions, ours the same as matrices.

torchvision's networks and the C3D of RSPNet and VCOP need no translation: our names are theirs.
"""

import re
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A project's naming of a network's tensors.

    Attributes:
        marks: names by which it is recognised, each with the tensor's number of dimensions
        rules: regular expressions and their replacements, applied one after the other
    """

    project: str
    marks: tuple[tuple[str, int], ...]
    rules: tuple[tuple[str, str], ...]


# RSPNet, models/resnet.py: the 3-D ResNet-18 of Hara (kenshohara/3D-ResNets-PyTorch has the same
# names). 2-D ResNets have these names, too, so numbers of dimensions matter. -> resnet18-hara
_RSPNET_RESNET = Layout(
    "RSPNet",
    (("conv1.weight", 5), ("layer1.0.conv1.weight", 5), ("layer4.0.bn2.weight", 1)),
    (
        (r"^conv1\.", "stem.0."),
        (r"^bn1\.", "stem.1."),
        (r"^(layer\d\.\d+\.conv\d)\.", r"\1.0."),
        (r"^(layer\d\.\d+)\.bn(\d)\.", r"\1.conv\2.1."),
    ),
)
# RSPNet, models/r2plus1d_vcop.py: VCOP's R(2+1)D with one block per stage. Further blocks get names
# that no backbone has, so that such a file is refused. -> r2plus1d-vcop
_RSPNET_R2PLUS1D = Layout(
    "RSPNet",
    (
        ("conv1.spatial_conv.weight", 5),
        ("conv2.block1.conv1.temporal_conv.weight", 5),
        ("conv5.block1.downsampleconv.temporal_conv.weight", 5),
    ),
    (
        (r"^conv1\.spatial_conv\.", "stem.0."),
        (r"^conv1\.bn\.", "stem.1."),
        (r"^conv1\.temporal_conv\.", "stem.3."),
        (r"^bn1\.", "stem.4."),
        *((rf"^conv{i + 1}\.block1\.", f"layer{i}.0.") for i in range(1, 5)),
        *((rf"^conv{i + 1}\.blocks\.", f"layer{i}.blocks.") for i in range(1, 5)),
        (r"\.bn([12])\.", r".conv\1.1."),
        (r"\.downsamplebn\.", ".downsample.1."),
        (r"\.downsampleconv\.", ".downsample."),
        (r"\.spatial_conv\.", ".0.0."),
        (r"\.bn\.", ".0.1."),
        (r"\.temporal_conv\.", ".0.3."),
    ),
)
# RSPNet, models/s3dg.py. -> s3dg-rspnet
_RSPNET_S3DG = Layout(
    "RSPNet",
    (
        ("feature.sepConv1.sep_conv.0.conv3d.weight", 5),
        ("feature.sepConv1.excitation.weight", 5),
        ("feature.sepInc_5c.branch0.conv3d.weight", 5),
    ),
    (
        (r"^feature\.sepConv1\.", "stem."),
        (r"^feature\.basicConv3d\.", "features.2."),
        (r"^feature\.sep_conv2\.", "features.3."),
        *(
            (rf"^feature\.sepInc_{block}\.", f"features.{i}.")
            for block, i in zip(
                ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"),
                (5, 6, 8, 9, 10, 11, 12, 14, 15),
                strict=True,
            )
        ),
        (r"\.sep_conv\.", "."),
        (r"\.excitation\.", ".2.fc."),
        (r"\.conv3d\.", ".0."),
        (r"\.bn\.", ".1."),
    ),
)
# CoCLR, backbone/s3dg.py. Every tensor is in the file twice, under the name of its layer and under
# that of the layer's group. Gates, which its S3D-G has on every branch, get names that no backbone
# has, so that such a file is refused. -> s3d-coclr
_COCLR = Layout(
    "CoCLR",
    (("Conv_1a.conv1.weight", 5), ("Mixed_5c.branch0.0.conv.weight", 5)),
    (
        *(
            (rf"^({layer}|{group})\.", f"blocks.{i}.")
            for layer, group, i in (
                ("Conv_1a", r"block1\.0", 0),
                ("Conv_2b", r"block2\.1", 2),
                ("Conv_2c", r"block2\.2", 3),
                ("Mixed_3b", r"block3\.1", 5),
                ("Mixed_3c", r"block3\.2", 6),
                ("Mixed_4b", r"block4\.1", 8),
                ("Mixed_4c", r"block4\.2", 9),
                ("Mixed_4d", r"block4\.3", 10),
                ("Mixed_4e", r"block4\.4", 11),
                ("Mixed_4f", r"block4\.5", 12),
                ("Mixed_5b", r"block5\.1", 14),
                ("Mixed_5c", r"block5\.2", 15),
            )
        ),
        (r"\.branch0\.0\.", ".branch0."),
        (r"\.conv\.", ".0."),
        (r"\.bn\.", ".1."),
        (r"\.conv1\.", ".0.0."),
        (r"\.bn1\.", ".0.1."),
        (r"\.conv2\.", ".1.0."),
        (r"\.bn2\.", ".1.1."),
    ),
)
# TCLR, tclr_pretraining/model.py and mlp.py: torchvision's R3D-18 with another last stage, and a
# head. Without the head the names are torchvision's, and it is not recognised. -> r3d18-tclr
_TCLR = Layout(
    "TCLR",
    (
        ("0.layer4.0.conv1.0.weight", 5),
        ("1.fc1.weight", 2),
        ("1.bn1.weight", 1),
        ("1.fc2.weight", 2),
        ("1.bn2.weight", 1),
    ),
    ((r"^0\.layer4\.", "0.layer4_dilated."),),
)
LAYOUTS = (_RSPNET_RESNET, _RSPNET_R2PLUS1D, _RSPNET_S3DG, _COCLR, _TCLR)


def rename(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Rename the tensors of a file to our names. Returns them, and the project whose layout the
    file has; "" if it has no known one.

    Prefixes (`encoder_q.encoder.`) and names of anything else in the file stay. Of CoCLR's two
    names of a tensor, the first counts.
    """
    for layout in LAYOUTS:
        if prefixes := _prefixes(layout, tensors):
            renamed: dict[str, Tensor] = {}
            for name, tensor in tensors.items():
                prefix = next((p for p in prefixes if name.startswith(p)), None)
                ours = name if prefix is None else prefix + _ours(layout, name[len(prefix) :])
                is_gate = ours != name and ours.endswith(".fc.weight") and tensor.dim() == 5
                renamed.setdefault(ours, tensor.flatten(1) if is_gate else tensor)
            return renamed, layout.project
    return tensors, ""


def _prefixes(layout: Layout, tensors: dict[str, Tensor]) -> list[str]:
    """The prefixes of all networks with this layout, longer ones first: a network may be nested
    under the prefix of another."""
    first = layout.marks[0][0]
    starts = {n.removesuffix(first) for n in tensors if n == first or n.endswith(f".{first}")}
    prefixes = [
        start
        for start in starts
        if all(
            start + mark in tensors and tensors[start + mark].dim() == dimensions
            for mark, dimensions in layout.marks
        )
    ]
    return sorted(prefixes, key=len, reverse=True)


def _ours(layout: Layout, name: str) -> str:
    for pattern, replacement in layout.rules:
        name = re.sub(pattern, replacement, name)
    return name
