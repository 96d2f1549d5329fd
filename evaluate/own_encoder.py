"""A user's encoder: its description, and the network that takes a backbone's place."""

import math
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from evaluate.errors import EvaluateError
from trainer.config.validation import (
    MOST_FRAMES,
    MOST_SIZE,
    MOST_STRIDE,
    check_rules,
    one_of,
    pixels_rule,
    range_rule,
    rate_rule,
    rules_of,
)
from trainer.data.augment import MEAN, STD
from trainer.errors import TrainerError

Numbers = tuple[float, float, float]  # for red, green and blue

SHAPES = {"features": "N x C", "map": "N x C x T x H x W", "tokens": "N x L x C"}
_LEAST_SIZE = 16  # as for the clips of a run


@dataclass(frozen=True)
class Encoder:
    """Your own encoder: a torch module, its input and its output.

    Attributes:
        module: called with clips (float32 N x 3 x T x S x S, RGB, contiguous) on its own device;
            returns one float tensor
        frames: T, number of frames in a clip
        size: S, side of the square crop in pixels, 16 or more
        stride: frame stride
        fps: strides count frames at this rate; 0: stored frames
        value_range: values of black and white before `mean` and `std` are applied, such as (0, 255)
        mean: subtracted from the values of each channel
        std: by which each channel is divided afterwards
        gives: "features" (N x C), "map" (N x C x T' x H' x W', averaged over time and space) or
            "tokens" (N x L x C, averaged over the tokens)
        class_token: for tokens: whether the first is a class token, which replaces the average; an
            attentive probe attends to all tokens
        untrained: the network before training, evaluated as a baseline; None: no baseline
    """

    module: nn.Module
    frames: int
    size: int
    stride: int = 1
    fps: float = 0.0
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: Numbers = (0.0, 0.0, 0.0)
    std: Numbers = (1.0, 1.0, 1.0)
    gives: str = "features"
    class_token: bool = False
    untrained: nn.Module | None = None

    def __post_init__(self) -> None:
        """Raises EvaluateError for the first field with an invalid value."""
        _must_be_a_module("module", self.module)
        if self.untrained is not None:
            _must_be_a_module("untrained", self.untrained)
        for name in ("frames", "size", "stride", "fps"):
            _must_be_a_number(name, getattr(self, name), whole=name != "fps")
        for name, count in (("mean", 3), ("std", 3), ("value_range", 2)):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), count))
        low, high = self.value_range
        without = "False, unless `gives` is 'tokens'"
        rules = [
            range_rule("frames", self.frames, 1, MOST_FRAMES),
            range_rule("size", self.size, _LEAST_SIZE, MOST_SIZE),
            pixels_rule("", self.frames, self.size),
            range_rule("stride", self.stride, 1, MOST_STRIDE),
            rate_rule("fps", self.fps),
            (min(self.std) > 0, "std", self.std, "three positive numbers"),
            (low < high, "value_range", self.value_range, "the smaller value, then the larger one"),
            *rules_of("", self, {"gives": one_of(tuple(SHAPES))}),
            (
                self.gives == "tokens" or not self.class_token,
                "class_token",
                self.class_token,
                without,
            ),
        ]
        try:
            check_rules(rules)
        except TrainerError as error:
            raise EvaluateError(str(error)) from error

    @property
    def input_text(self) -> str:
        """The preparation of the input values; part of a store's identity."""
        low, high = self.value_range
        mean, std = (" ".join(f"{x:.9g}" for x in values) for values in (self.mean, self.std))
        return f"values {low:.9g} to {high:.9g}, mean {mean}, std {std}"

    @property
    def output_text(self) -> str:
        """The part of the output that is used; part of a store's identity."""
        return "class token" if self.class_token else self.gives


def _must_be_a_module(name: str, value: object) -> None:
    if not isinstance(value, nn.Module):
        raise EvaluateError(f"{name} is a {type(value).__name__}; it takes a torch.nn.Module.")


def _must_be_a_number(name: str, value: object, *, whole: bool) -> None:
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number:
        kind = "a whole number" if whole else "a number"
        raise EvaluateError(f"{name} is {value!r}; it takes {kind}.")


def _numbers(name: str, values: object, count: int) -> tuple[float, ...]:
    """Convert a list, tuple or tensor to floats. Raises EvaluateError unless it has `count` finite
    numbers."""
    try:
        numbers = tuple(float(value) for value in values)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise EvaluateError(f"{name} is {values!r}; it takes {count} finite numbers.")
    return numbers


class EncoderNetwork(nn.Module):
    """Map clips as trainer's networks take them, float32 N x 3 x T x S x S, to a feature map, N x C
    x T' x H' x W', with the module of an `Encoder`."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, module: nn.Module, encoder: Encoder, name: str, file: Path) -> None:
        """`module` is the trained or the untrained network of the encoder; `name` and `file` are
        for messages."""
        super().__init__()
        self.module = module
        self._gives, self._class_token = encoder.gives, encoder.class_token
        self._name, self._file = name, file
        low, high = encoder.value_range
        # One affine map from our normalised values to theirs, computed in float64.
        ours, theirs = zip(MEAN, STD, strict=True), zip(encoder.mean, encoder.std, strict=True)
        numbers = [
            ((high - low) * s / std, ((high - low) * m + low - mean) / std)
            for (m, s), (mean, std) in zip(ours, theirs, strict=True)
        ]
        scale, shift = (
            torch.tensor(column).view(3, 1, 1, 1) for column in zip(*numbers, strict=True)
        )
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Raises EvaluateError if the module raises an exception or returns an unexpected shape."""
        features = self.all_positions(clips)
        return features[:, :, :1] if self._class_token else features

    def all_positions(self, clips: torch.Tensor) -> torch.Tensor:
        """Like `forward`, but with all tokens, even if there is a class token."""
        prepared = torch.addcmul(self.shift, clips, self.scale).contiguous()
        try:
            output = self.module(prepared)
        except (EvaluateError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # users' code may raise anything
            raise EvaluateError(
                f"{self._name} cannot encode clips of {_shape(prepared)}: "
                f"{what_was_raised(error, self._file)}."
            ) from error
        self._must_be_right(output, len(clips))
        if self.training and torch.is_grad_enabled() and not output.requires_grad:
            self._must_pass_gradients()
        if self._gives == "map":
            features: torch.Tensor = output
        elif self._gives == "features":
            features = output[:, :, None, None, None]
        else:
            features = output.mT[:, :, :, None, None]
        return features

    def _must_be_right(self, output: object, clips: int) -> None:
        wanted = SHAPES[self._gives]
        if isinstance(output, torch.Tensor):
            right = output.dim() == wanted.count("x") + 1 and len(output) == clips
            if right and output.is_floating_point() and output.numel():
                return
            what = f"{str(output.dtype).removeprefix('torch.')} {_shape(output)}"
        else:
            what = f"a {type(output).__name__}"
        raise EvaluateError(
            f"{self._name} gives {what} for {clips} clip{'s' * (clips != 1)}; as its `gives` is "
            f"{self._gives!r}, it must return a float tensor {wanted} with N = {clips} (`gives` "
            f"may be {', '.join(f'{name}: {shape}' for name, shape in SHAPES.items())})."
        )

    def _must_pass_gradients(self) -> None:
        if any(parameter.requires_grad for parameter in self.module.parameters()):
            raise EvaluateError(
                f"{self._name} gives features without gradients, so it cannot be fine-tuned: "
                "remove torch.no_grad, torch.inference_mode and detach from its forward, or train "
                "a linear layer on it (--task linear)."
            )


def what_was_raised(error: BaseException, file: Path) -> str:
    """Describe an exception of a user's code by its type, the first line of its message and the
    line of the file: "KeyError: 'x' (line 3 of nets.py)"."""
    text = str(error).strip().partition("\n")[0].rstrip(".:!")
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(file)
    ]
    if isinstance(error, SyntaxError) and error.filename == str(file):
        text, lines = error.msg, [error.lineno]
    where = f" (line {lines[-1]} of {file.name})" if lines else ""
    return f"{type(error).__name__}{': ' * bool(text)}{text}{where}"


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
