"""Augmentation of whole batches on the device, the same for all frames of a clip.

Cropping, resizing (antialiased), flipping and blurring are linear in every direction, so for each
clip they are two small matrices: out = V frame H^T. Brightness, contrast, saturation, hue, gray
and normalisation are one 3 x 4 matrix a clip. A batch costs three matrix products. The colour
matrix is close to jitter step by step, not equal: nothing is clamped in between, and hue turns in
YIQ.
"""

import math
from dataclasses import dataclass

import torch

from trainer.config import Augment

# Mean and standard deviation of RGB in Kinetics-400, as torchvision's video models use them.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ: torch.Tensor = torch.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Geometry:
    """What part of each clip's frames is taken, and how. All float32, N, in pixels of the frame."""

    top: torch.Tensor
    left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    flip: torch.Tensor  # bool
    sigma: torch.Tensor  # of the Gaussian blur, pixels of the result; 0: none


@dataclass(frozen=True)
class Colour:
    """Factors of each clip, float32, N; 1 (hue: 0) changes nothing."""

    brightness: torch.Tensor
    contrast: torch.Tensor
    saturation: torch.Tensor
    hue: torch.Tensor  # turns
    gray: torch.Tensor  # bool


def draw_geometry(
    settings: Augment, sizes: torch.Tensor, size: int, generator: torch.Generator
) -> Geometry:
    """Random crops for frames of `sizes` (N x 2, height and width): area and width / height drawn
    evenly (the ratio on a log scale), then cut to the frame where they do not fit."""
    count = len(sizes)
    height, width = sizes.float().unbind(1)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area = uniform(*settings.area) * height * width
    ratio = torch.exp(uniform(math.log(settings.ratio[0]), math.log(settings.ratio[1])))
    h = torch.minimum(torch.sqrt(area / ratio), height)
    w = torch.minimum(torch.sqrt(area * ratio), width)
    top, left = uniform(0, 1) * (height - h), uniform(0, 1) * (width - w)
    flip = uniform(0, 1) < settings.flip
    sigma = uniform(*settings.blur_sigma) * size / 224
    sigma = torch.where(uniform(0, 1) < settings.blur, sigma, torch.zeros(()))
    return Geometry(top, left, h, w, flip, sigma)


def centre_geometry(sizes: torch.Tensor) -> Geometry:
    """The largest square in the middle of every frame: the test crop."""
    height, width = sizes.float().unbind(1)
    side = torch.minimum(height, width)
    nothing = torch.zeros_like(side)
    return Geometry((height - side) / 2, (width - side) / 2, side, side, nothing.bool(), nothing)


def draw_colour(settings: Augment, count: int, generator: torch.Generator) -> Colour:
    """Random colour changes of `count` clips."""
    jitter = torch.rand(count, generator=generator) < settings.jitter

    def factor(spread: float, neutral: float) -> torch.Tensor:
        value = neutral + spread * (2 * torch.rand(count, generator=generator) - 1)
        return torch.where(jitter, value, torch.tensor(neutral))

    return Colour(
        brightness=factor(settings.brightness, 1.0),
        contrast=factor(settings.contrast, 1.0),
        saturation=factor(settings.saturation, 1.0),
        hue=factor(settings.hue, 0.0),
        gray=torch.rand(count, generator=generator) < settings.gray,
    )


def resize_matrix(
    start: torch.Tensor,
    length: torch.Tensor,
    limit: torch.Tensor,
    canvas: int,
    size: int,
    sigma: torch.Tensor,
) -> torch.Tensor:
    """float32, N x size x canvas: maps a line of `canvas` pixels to `size` pixels that cover
    [start, start + length), with the antialiased triangle filter (torch's and Pillow's bilinear),
    then blurs with a Gaussian of `sigma` result pixels. Pixels from `limit` on are not used."""
    step = (length / size)[:, None, None]
    reach = step.clamp(min=1.0)
    target = torch.arange(size)[None, :, None] + 0.5
    source = torch.arange(canvas)[None, None, :] + 0.5
    centre = start[:, None, None] + target * step
    weight: torch.Tensor = (1 - (source - centre).abs() / reach).clamp(min=0)
    weight = weight * (source < limit[:, None, None])
    weight = weight / weight.sum(-1, keepdim=True)
    if bool((sigma > 0).any()):
        distance = torch.arange(size)[:, None] - torch.arange(size)[None, :]
        width = sigma.clamp(min=0.05)[:, None, None]
        kernel = torch.exp(-0.5 * (distance / width) ** 2)
        weight = kernel / kernel.sum(-1, keepdim=True) @ weight
    return weight


def colour_matrix(colour: Colour) -> torch.Tensor:
    """float32, N x 3 x 3: the linear part of all colour changes."""
    gray_of = torch.ones(3, 1) @ _LUMA[None]
    eye = torch.eye(3)
    s = colour.saturation[:, None, None]
    saturation = s * eye + (1 - s) * gray_of
    angle = 2 * math.pi * colour.hue
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.zeros(len(angle), 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    hue = _FROM_YIQ @ turn @ _TO_YIQ
    gray = torch.where(colour.gray[:, None, None], gray_of, eye)
    gain = (colour.brightness * colour.contrast)[:, None, None]
    return gain * (gray @ hue @ saturation)


def render(
    frames: torch.Tensor,
    sizes: torch.Tensor,
    geometry: Geometry,
    colour: Colour | None,
    size: int,
) -> torch.Tensor:
    """Clips as the network takes them: float32, N x 3 x T x size x size, normalised, on the device
    of `frames` (uint8, N x T x H x W x 3; `sizes` N x 2 says what of H x W is frame)."""
    device = frames.device
    n, t, canvas_height, canvas_width, _ = frames.shape
    height, width = sizes.float().unbind(1)
    g = geometry
    vertical = resize_matrix(g.top, g.height, height, canvas_height, size, g.sigma)
    horizontal = resize_matrix(g.left, g.width, width, canvas_width, size, g.sigma)
    horizontal = torch.where(g.flip[:, None, None], horizontal.flip(1), horizontal)
    lines = frames.reshape(n, t, canvas_height, canvas_width * 3).float()
    lines = vertical.to(device)[:, None] @ lines
    planes = lines.reshape(n, t, size, canvas_width, 3).permute(0, 4, 1, 2, 3)
    clips = planes @ (horizontal.to(device).mT / 255)[:, None, None]
    if colour is not None:
        clips = _recolour(clips, colour)
    mean = torch.tensor(MEAN, device=device)[:, None, None, None]
    std = torch.tensor(STD, device=device)[:, None, None, None]
    return (clips - mean) / std


def _recolour(clips: torch.Tensor, colour: Colour) -> torch.Tensor:
    """Contrast turns about the clip's mean brightness; the result is clamped to [0, 1]."""
    n, _, t, h, w = clips.shape
    device = clips.device
    mean = torch.einsum("ncthw,c->n", clips, _LUMA.to(device)) / (t * h * w)
    matrix = colour_matrix(colour).to(device)
    shift = ((1 - colour.contrast) * colour.brightness).to(device) * mean
    changed = torch.baddbmm(shift[:, None, None], matrix, clips.reshape(n, 3, -1))
    return changed.clamp_(0, 1).reshape(clips.shape)


def augment(
    frames: torch.Tensor,
    sizes: torch.Tensor,
    settings: Augment,
    size: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Random clips for training. What is drawn depends on `generator` (on the CPU) alone, so it is
    the same on every device. Shapes as in `render`."""
    geometry = draw_geometry(settings, sizes, size, generator)
    colour = draw_colour(settings, len(sizes), generator)
    return render(frames, sizes, geometry, colour, size)


def centre_crop(frames: torch.Tensor, sizes: torch.Tensor, size: int) -> torch.Tensor:
    """Clips for evaluation: the middle square, resized, normalised. Shapes as in `render`."""
    return render(frames, sizes, centre_geometry(sizes), None, size)
