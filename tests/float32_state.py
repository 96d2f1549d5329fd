"""Set, read and restore torch's precision of float32 multiplication."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.float32 import _fine, _set

# Settings that users may make through either of torch's two interfaces.
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
    """All related settings of torch; "no answer" for those it cannot tell, as its two interfaces
    disagree."""
    found: dict[str, object] = {}
    for question in _LOOKS:
        try:
            found[question] = eval(question)
        except RuntimeError:
            found[question] = "no answer"
    return found


@contextmanager
def multiplying(*ways: str) -> Iterator[dict[str, object]]:
    """Make settings; yield what torch then reports. They are restored at the end."""
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
