"""Set the precision of float32 products temporarily.

torch has two interfaces for this, and reading one raises if the other was used to set another
value. Here both are set to the same value, and both are restored.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

# Operations of torch.backends that have their own `fp32_precision` since torch 2.9.
_CONVOLUTIONS = ("cudnn.conv", "cudnn.rnn")
_PARTS = ("cuda.matmul", *_CONVOLUTIONS, "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


@contextmanager
def float32_products(tf32: bool = False) -> Iterator[None]:
    """Compute products of float32 in full float32 within the context, on all devices and whatever
    the process's settings; with `tf32`, convolutions on a GPU use TensorFloat32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about mixing the two interfaces
        before, precision, allowed = _fine(), "highest", True  # the last two are torch's defaults
        # If reading raises, the interfaces differ, and the settings per operation take effect.
        with suppress(RuntimeError):
            precision = "high" if torch.backends.cuda.matmul.allow_tf32 else "highest"
        with suppress(RuntimeError):
            precision = torch.get_float32_matmul_precision()
        with suppress(RuntimeError):
            allowed = torch.backends.cudnn.allow_tf32
        _set(
            "highest", tf32, {p: "tf32" if tf32 and p in _CONVOLUTIONS else "ieee" for p in before}
        )
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            _set(precision, allowed, before)


def _set(precision: str, allowed: bool, fine: dict[str, str]) -> None:
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = allowed
    for name, value in fine.items():
        part = _part(name)
        part.fp32_precision = "none"  # inherit from the global settings
        if part.fp32_precision != value:
            part.fp32_precision = value


def _fine() -> dict[str, str]:
    """The precision set for each operation; {} before torch 2.9."""
    return {name: _part(name).fp32_precision for name in _PARTS if _part(name) is not None}


def _part(name: str) -> Any:
    backend, _, operation = name.partition(".")
    part = getattr(getattr(torch.backends, backend, None), operation, None)
    return part if hasattr(part, "fp32_precision") else None
