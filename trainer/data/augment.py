"""Augmentation of whole batches on the device, the same for all frames of a clip.

Cropping, antialiased resizing, flipping and blurring are linear and separable, so for each clip
they are two small matrices: out = V frame H^T. Brightness, contrast, saturation, hue and grayscale
are one affine map of RGB per clip. A batch costs three matrix products. The colour map is close to
step-by-step colour jitter, not equal to it: nothing is clamped in between, and hue is rotated in
YIQ.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from trainer.config.settings import Augment, Config
from trainer.data.clip_reader import ClipBatch
from trainer.data.packed_clips import PackedClips
from trainer.data.transfer import send
from trainer.random_streams import AUGMENTATION, torch_seed

# Mean and standard deviation of RGB in Kinetics-400, as torchvision's video models use them.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

# Random numbers per clip: for crop, flip and blur, and for colour. Another one changes those of all
# clips after the first, so every training takes another course.
_GEOMETRY, _COLOUR = 7, 6

_LUMA = torch.tensor([0.299, 0.587, 0.114])
_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ: torch.Tensor = torch.linalg.inv(_TO_YIQ)


_MEAN, _STD = torch.tensor(MEAN), torch.tensor(STD)
_COPIES: dict[tuple[int, torch.device], torch.Tensor] = {}


def _on(constant: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A constant tensor on a device, copied there once."""
    key = (id(constant), device)
    if key not in _COPIES:
        _COPIES[key] = constant.to(device)
    return _COPIES[key]


@dataclass(frozen=True)
class Geometry:
    """Crop, flip and blur of N clips. Crops are float32, N, in pixels of the frame.

    Attributes:
        flip: bool, N: mirror horizontally
        sigma: float32, N: standard deviation of the Gaussian blur, in pixels of the result; 0 or
            None for no blur
    """

    top: torch.Tensor
    left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    flip: torch.Tensor
    sigma: torch.Tensor | None


@dataclass(frozen=True)
class Colour:
    """Colour changes of N clips: factors, float32, N; 1 changes nothing.

    Attributes:
        hue: rotation in turns; 0 changes nothing
        gray: bool, N: convert to grayscale
    """

    brightness: torch.Tensor
    contrast: torch.Tensor
    saturation: torch.Tensor
    hue: torch.Tensor
    gray: torch.Tensor


Drawn = TypeVar("Drawn", Geometry, Colour)


def draw_numbers(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw the random numbers of `count` clips: float32 in [0, 1), count x 13, on the CPU. A clip's
    augmentation depends on its row alone, so ranks share a batch by sharing the rows, and the
    result is the same on every device."""
    return torch.rand(count, _GEOMETRY + _COLOUR, generator=generator)


def draw_geometry(
    settings: Augment, sizes: torch.Tensor, size: int, numbers: torch.Tensor
) -> Geometry:
    """Random crops, flips and blurs for frames of `sizes` (N x 2, height and width). Area and
    aspect ratio (width / height) are drawn uniformly (the ratio on a log scale), and crops that do
    not fit are cut to the frame. `numbers`: N rows of `draw_numbers`."""
    height, width = sizes.float().unbind(1)
    u = numbers.unbind(1)[:_GEOMETRY]
    area = _between(settings.area, u[0]) * height * width
    low, high = settings.ratio
    ratio = torch.exp(_between((math.log(low), math.log(high)), u[1]))
    h = torch.minimum(torch.sqrt(area / ratio), height)
    w = torch.minimum(torch.sqrt(area * ratio), width)
    top, left = u[2] * (height - h), u[3] * (width - w)
    sigma = _between(settings.blur_sigma, u[5]) * (size / 224) * (u[6] < settings.blur)
    return Geometry(top, left, h, w, u[4] < settings.flip, sigma if settings.blur else None)


def _between(limits: tuple[float, float], u: torch.Tensor) -> torch.Tensor:
    low, high = limits
    return low + (high - low) * u


def square_geometry(sizes: torch.Tensor, place: float) -> Geometry:
    """The largest square of every frame (`sizes`: N x 2), at `place` along the longer side: 0 to 1,
    0.5 for the centre."""
    height, width = sizes.float().unbind(1)
    side = torch.minimum(height, width)
    nothing = torch.zeros_like(side)
    top, left = (height - side) * place, (width - side) * place
    return Geometry(top, left, side, side, nothing.bool(), None)


def draw_colour(settings: Augment, numbers: torch.Tensor) -> Colour:
    """Random colour changes. `numbers`: N rows of `draw_numbers`."""
    u = numbers.unbind(1)[_GEOMETRY:]
    jitter = u[0] < settings.jitter

    def factor(spread: float, neutral: float, u: torch.Tensor) -> torch.Tensor:
        return neutral + spread * (2 * u - 1) * jitter

    return Colour(
        brightness=factor(settings.brightness, 1.0, u[1]),
        contrast=factor(settings.contrast, 1.0, u[2]),
        saturation=factor(settings.saturation, 1.0, u[3]),
        hue=factor(settings.hue, 0.0, u[4]),
        gray=u[5] < settings.gray,
    )


def resize_matrix(
    start: torch.Tensor,
    length: torch.Tensor,
    pixels: int,
    size: int,
    sigma: torch.Tensor | None,
) -> torch.Tensor:
    """Matrices (float32, N x size x pixels) that resample a line of `pixels` pixels to `size`
    pixels covering [start, start + length), with an antialiased triangle filter (the bilinear one
    of torch and Pillow), then blur with a Gaussian of `sigma` result pixels. `start`, `length` and
    `sigma`: float32, N."""
    step = (length / size)[:, None, None]
    reach = step.clamp(min=1.0)
    device = start.device
    target = torch.arange(size, device=device)[None, :, None] + 0.5
    source = torch.arange(pixels, device=device)[None, None, :] + 0.5
    centre = start[:, None, None] + target * step
    weight: torch.Tensor = (1 - (source - centre).abs() / reach).clamp(min=0)
    weight = weight / weight.sum(-1, keepdim=True)
    if sigma is not None:
        distance = torch.arange(size, device=device)[:, None] - torch.arange(size, device=device)
        width = sigma.clamp(min=0.05)[:, None, None]
        kernel = torch.exp(-0.5 * (distance / width) ** 2)
        weight = kernel / kernel.sum(-1, keepdim=True) @ weight
    return weight


def colour_matrix(colour: Colour) -> torch.Tensor:
    """The linear part of all colour changes: float32, N x 3 x 3, acting on RGB."""
    device = colour.hue.device
    gray_of = torch.ones(3, 1, device=device) @ _on(_LUMA, device)[None]
    eye = torch.eye(3, device=device)
    s = colour.saturation[:, None, None]
    saturation = s * eye + (1 - s) * gray_of
    angle = 2 * math.pi * colour.hue
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.zeros(len(angle), 3, 3, device=device)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    hue = _on(_FROM_YIQ, device) @ turn @ _on(_TO_YIQ, device)
    gray = torch.where(colour.gray[:, None, None], gray_of, eye)
    gain = (colour.brightness * colour.contrast)[:, None, None]
    return gain * (gray @ hue @ saturation)


def render(
    clips: PackedClips,
    geometry: Geometry,
    colour: Colour | None,
    size: int,
    normalise: str = "fixed",
) -> torch.Tensor:
    """Render clips for the network: float32, N x 3 x T x size x size. `normalise`: by MEAN and STD
    ("fixed"), by each clip's own mean and standard deviation ("clip"), or by subtracting each
    pixel's mean over the frames and dividing by the clip's standard deviation ("motion"). All
    tensors are on one device."""
    if len(set(clips.sizes)) == 1:
        (frames,) = clips.by_size()
        return _render(frames, geometry, colour, size, normalise)
    device = clips.pixels.device
    order = send(torch.tensor(clips.order), device)
    out = torch.empty(len(clips), 3, clips.length, size, size, device=device)
    end = 0
    for frames in clips.by_size():
        numbers = order[end : end + len(frames)]
        end += len(frames)
        of_size = _rows(geometry, numbers), colour and _rows(colour, numbers)
        out.index_copy_(0, numbers, _render(frames, *of_size, size, normalise))
    return out


def _rows(values: Drawn, numbers: torch.Tensor) -> Drawn:
    """The rows of the clips with these numbers."""
    tensors = {name: value[numbers] for name, value in vars(values).items() if value is not None}
    return replace(values, **tensors)


def _render(
    frames: torch.Tensor, geometry: Geometry, colour: Colour | None, size: int, normalise: str
) -> torch.Tensor:
    """Render clips of one frame size: uint8, N x T x H x W x 3."""
    device, g = frames.device, geometry
    n, t, height, width, _ = frames.shape
    vertical = resize_matrix(g.top, g.height, height, size, g.sigma)
    horizontal = resize_matrix(g.left, g.width, width, size, g.sigma)
    horizontal = torch.where(g.flip[:, None, None], horizontal.flip(1), horizontal)
    lines = frames.reshape(n, t, height, width * 3).float()
    lines = vertical[:, None] @ lines
    planes = lines.reshape(n, t, size, width, 3).permute(0, 4, 1, 2, 3)
    clips = planes @ (horizontal.mT / 255)[:, None, None]
    if colour is not None:
        clips = _recolour(clips, colour)
    if normalise != "fixed":
        return _standardised(clips, (2,) if normalise == "motion" else (1, 2, 3, 4))
    clips -= _on(_MEAN, device)[:, None, None, None]
    clips /= _on(_STD, device)[:, None, None, None]
    return clips


def _standardised(clips: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    """Subtract the mean over the dimensions `over`, then divide each clip by its standard
    deviation, taken as at least half a level of 255 so that noise in constant clips stays small."""
    rest = clips - clips.mean(dim=over, keepdim=True)
    deviation = rest.square().mean(dim=(1, 2, 3, 4), keepdim=True).sqrt()
    return rest / deviation.clamp(min=0.5 / 255)


def _recolour(clips: torch.Tensor, colour: Colour) -> torch.Tensor:
    """Apply colour changes to clips in [0, 1]. Contrast is about the clip's mean luma; the result
    is clamped to [0, 1]."""
    n, _, t, h, w = clips.shape
    device = clips.device
    mean = torch.einsum("ncthw,c->n", clips, _on(_LUMA, device)) / (t * h * w)
    matrix = colour_matrix(colour)
    shift = (1 - colour.contrast) * colour.brightness * mean
    changed = torch.baddbmm(shift[:, None, None], matrix, clips.reshape(n, 3, -1))
    return changed.clamp_(0, 1).reshape(clips.shape)


def augment(
    clips: PackedClips,
    settings: Augment,
    size: int,
    numbers: torch.Tensor,
    normalise: str = "fixed",
) -> torch.Tensor:
    """Augment clips at random for training. `numbers`: N rows of `draw_numbers`; shapes and
    `normalise` as in `render`. All tensors are on one device, which does the work."""
    geometry = draw_geometry(settings, _sizes(clips), size, numbers)
    return render(clips, geometry, draw_colour(settings, numbers), size, normalise)


def augment_batch(batch: ClipBatch, settings: Config, number: int) -> torch.Tensor:
    """Augment a batch as training does. `number`: number of the batch in the run."""
    generator = torch.Generator().manual_seed(torch_seed(settings.seed, number, AUGMENTATION))
    numbers = send(draw_numbers(len(batch.videos), generator), batch.clips.pixels.device)
    data = settings.data
    clips = augment(batch.clips, settings.augment, data.size, numbers, data.normalise)
    return clips.contiguous(memory_format=torch.channels_last_3d)


def square_crop(
    clips: PackedClips, size: int, place: float = 0.5, normalise: str = "fixed"
) -> torch.Tensor:
    """Crop clips for evaluation: the largest square, resized and normalised. `place`: 0 to 1 along
    the longer side, 0.5 for the centre; shapes and `normalise` as in `render`."""
    return render(clips, square_geometry(_sizes(clips), place), None, size, normalise)


def _sizes(clips: PackedClips) -> torch.Tensor:
    return send(torch.tensor(clips.sizes), clips.pixels.device)
