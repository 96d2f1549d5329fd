"""Find the GPU that the tests of this folder need, and count waits for it."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
_ROOMS = tuple(f"{ROOT / room}/" for room in ("trainer", "evaluate", "experiments"))


def find_gpu() -> torch.device:
    """The GPU. If there is none, skip the calling test file, or with ASCNET_REQUIRE_GPU=1 fail."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    why = f"torch {torch.__version__} finds no GPU here; `ascnet doctor` says why"
    if os.environ.get("ASCNET_REQUIRE_GPU") == "1":
        pytest.fail(f"ASCNET_REQUIRE_GPU is 1, and {why}.", pytrace=False)
    pytest.skip(why, allow_module_level=True)


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Count how often the program waits for the GPU, by place ("trainer/step.py:108"). torch does
    not report waits for an event, which wait for a part of the work only."""
    places: Counter[str] = Counter()

    def note(message: Warning | str, *_: Any) -> None:
        if "synchronizing" in str(message):
            places[product_line() or "outside the product"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")


def product_line() -> str | None:
    """The innermost line of the product's code on the stack, such as "trainer/step.py:108"."""
    frame: Any = sys._getframe(1)
    while frame and not frame.f_code.co_filename.startswith(_ROOMS):
        frame = frame.f_back
    if frame is None:
        return None
    return f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"
