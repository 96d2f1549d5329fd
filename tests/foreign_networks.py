"""Networks of other projects, as functions of state dicts with the projects' names. For tests only.

Each is written after the project's code, independently of ours: strides, paddings, poolings, eps.
They map float N x 3 x T x H x W to N x C x T' x H' x W'.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
Step = Callable[..., Tensor]


def convolution(t: Tensors, name: str, x: Tensor, **how: object) -> Tensor:
    return F.conv3d(x, t[f"{name}.weight"], t.get(f"{name}.bias"), **how)


def norm(t: Tensors, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    mean, variance = t[f"{name}.running_mean"], t[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, t[f"{name}.weight"], t[f"{name}.bias"], eps=eps)


def rspnet_resnet18(t: Tensors, x: Tensor) -> Tensor:
    x = convolution(t, "conv1", x, stride=(1, 2, 2), padding=3)
    x = F.max_pool3d(norm(t, "bn1", x).relu(), 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = convolution(t, f"{name}.conv1", x, stride=stride, padding=1)
            out = norm(t, f"{name}.bn1", out).relu()
            out = norm(t, f"{name}.bn2", convolution(t, f"{name}.conv2", out, padding=1))
            if stride == 2:
                x = convolution(t, f"{name}.downsample.0", x, stride=2)
                x = norm(t, f"{name}.downsample.1", x)
            x = (x + out).relu()
    return x


def tclr_r3d18(t: Tensors, x: Tensor) -> Tensor:
    x = norm(t, "stem.1", convolution(t, "stem.0", x, stride=(1, 2, 2), padding=(1, 3, 3))).relu()
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, how, stride = f"layer{stage}.{block}", {"padding": (1, 1, 1)}, (1, 1, 1)
            if block == 0 and stage in {2, 3}:
                stride = (2, 2, 2)
            if block == 0 and stage == 4:
                stride = (1, 2, 2)
                how = {"padding": (2, 1, 1), "dilation": (2, 1, 1)}
            out = convolution(t, f"{name}.conv1.0", x, stride=stride, **how)
            out = norm(t, f"{name}.conv1.1", out).relu()
            out = norm(t, f"{name}.conv2.1", convolution(t, f"{name}.conv2.0", out, padding=1))
            if f"{name}.downsample.0.weight" in t:
                x = convolution(t, f"{name}.downsample.0", x, stride=stride)
                x = norm(t, f"{name}.downsample.1", x)
            x = (x + out).relu()
    return x


def rspnet_r2plus1d(t: Tensors, x: Tensor) -> Tensor:
    def factored(name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        space, time = (1, stride, stride), (stride, 1, 1)
        x = convolution(t, f"{name}.spatial_conv", x, stride=space, padding=(0, padding, padding))
        x = norm(t, f"{name}.bn", x).relu()
        return convolution(t, f"{name}.temporal_conv", x, stride=time, padding=(padding, 0, 0))

    x = convolution(t, "conv1.spatial_conv", x, stride=(1, 2, 2), padding=(0, 3, 3))
    x = convolution(t, "conv1.temporal_conv", norm(t, "conv1.bn", x).relu(), padding=(1, 0, 0))
    x = norm(t, "bn1", x).relu()
    for stage in (2, 3, 4, 5):
        name, stride = f"conv{stage}.block1", 1 if stage == 2 else 2
        out = norm(t, f"{name}.bn1", factored(f"{name}.conv1", x, stride)).relu()
        out = norm(t, f"{name}.bn2", factored(f"{name}.conv2", out))
        if stride == 2:
            x = factored(f"{name}.downsampleconv", x, stride, padding=0)
            x = norm(t, f"{name}.downsamplebn", x)
        x = (x + out).relu()
    return x


def rspnet_c3d(t: Tensors, x: Tensor) -> Tensor:
    for layer in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        x = norm(t, f"bn{layer}", convolution(t, f"conv{layer}", x, padding=1)).relu()
        if layer in {"1", "2", "3b", "4b"}:
            x = F.max_pool3d(x, (1, 2, 2) if layer == "1" else 2)
    return x


def rspnet_s3dg(t: Tensors, x: Tensor) -> Tensor:
    def basic(name: str, x: Tensor, **how: object) -> Tensor:
        x = convolution(t, f"{name}.conv3d", x, **how)
        return norm(t, f"{name}.bn", x, eps=1e-3).relu()

    def separable(name: str, x: Tensor, half: int = 1, stride: int = 1) -> Tensor:
        # In the stem, the spatial convolution has the temporal stride, too.
        x = basic(f"{name}.sep_conv.0", x, stride=stride, padding=(0, half, half))
        x = basic(f"{name}.sep_conv.1", x, padding=(half, 0, 0))
        gate = convolution(t, f"{name}.excitation", x.mean(dim=(2, 3, 4), keepdim=True))
        return torch.sigmoid(gate) * x

    x = F.max_pool3d(separable("feature.sepConv1", x, 3, 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = separable("feature.sep_conv2", basic("feature.basicConv3d", x))
    return _inceptions(x, "feature.sepInc_", "branch0", basic, separable)


def coclr_s3d(t: Tensors, x: Tensor) -> Tensor:
    def basic(name: str, x: Tensor) -> Tensor:
        return norm(t, f"{name}.bn", convolution(t, f"{name}.conv", x)).relu()

    def separable(name: str, x: Tensor, half: int = 1, stride: int = 1) -> Tensor:
        space, time = (1, stride, stride), (stride, 1, 1)
        x = convolution(t, f"{name}.conv1", x, stride=space, padding=(0, half, half))
        x = norm(t, f"{name}.bn1", x).relu()
        x = convolution(t, f"{name}.conv2", x, stride=time, padding=(half, 0, 0))
        return norm(t, f"{name}.bn2", x).relu()

    x = F.max_pool3d(separable("Conv_1a", x, 3, 2), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    x = separable("Conv_2c", basic("Conv_2b", x))
    return _inceptions(x, "Mixed_", "branch0.0", basic, separable)


def _inceptions(x: Tensor, name: str, branch0: str, basic: Step, separable: Step) -> Tensor:
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        if block == "4b":
            x = F.max_pool3d(x, 3, 2, 1)
        if block == "5b":
            x = F.max_pool3d(x, 2)
        here = f"{name}{block}"
        branches = (
            basic(f"{here}.{branch0}", x),
            separable(f"{here}.branch1.1", basic(f"{here}.branch1.0", x)),
            separable(f"{here}.branch2.1", basic(f"{here}.branch2.0", x)),
            basic(f"{here}.branch3.1", F.max_pool3d(x, 3, 1, 1)),
        )
        x = torch.cat(branches, 1)
    return x
