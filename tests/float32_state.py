"""How the process multiplies: to be set in many ways, looked at, and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.float32 import _fine, _set

# What users do, by either of torch's interfaces, to all that the other does not know of.
WAYS = (
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.cudnn.fp32_precision = 'tf32'",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "torch.backends.mkldnn.fp32_precision = 'bf16'",
    "torch.backends.fp32_precision = 'tf32'",
)
_LOOKS = (
    "torch.get_float32_matmul_precision()",
    "torch.backends.cuda.matmul.allow_tf32",
    "torch.backends.cudnn.allow_tf32",
    "torch.backends.cudnn.benchmark",
    *(
        f"torch.backends.{part}fp32_precision"
        for part in (
            *("", "cuda.matmul.", "cudnn.", "cudnn.conv.", "cudnn.rnn."),
            *("mkldnn.", "mkldnn.matmul.", "mkldnn.conv.", "mkldnn.rnn."),
        )
    ),
)


def look() -> dict[str, object]:
    """All that torch says of it; "no answer" where its two interfaces differ."""
    found: dict[str, object] = {}
    for question in _LOOKS:
        try:
            found[question] = eval(question)
        except RuntimeError:
            found[question] = "no answer"
    return found


@contextmanager
def multiplying(*ways: str) -> Iterator[dict[str, object]]:
    """The process as these ways leave it, and what torch says of that."""
    above = (torch.backends, torch.backends.cudnn, torch.backends.mkldnn)
    fine, benchmark = _fine(), torch.backends.cudnn.benchmark
    try:
        for way in ways:
            exec(way)
        yield look()
    finally:
        for part in above:
            part.fp32_precision = "none"
        _set("highest", True, fine)
        torch.backends.cudnn.benchmark = benchmark
