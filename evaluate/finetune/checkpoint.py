"""Atomic checkpoint and result files of a classifier's training.

    state.pt      training state after the last completed epoch, or after the step at which training
                  was stopped; deleted when the result is written
    result.pt     result and logits of a finished training

Both contain the identity, that is, everything that determines the numbers, and the devices used.
They are loaded without unpickling code. With several ranks, rank 0 reads and writes them.
"""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from builder.atomic import give_name, partials_in, write_partial
from builder.system_errors import cannot_write
from evaluate.errors import EvaluateError
from evaluate.identity_check import COMPUTED_ON, all_machines, first_difference
from trainer.agreement import from_first, on_first
from trainer.run.checkpoint import read_state

_STATE, _RESULT = "state.pt", "result.pt"
_BEFORE = {"settings.head": "linear", "settings.heads": 0}  # in files of earlier versions
TrainingIdentity = dict[str, Any]  # strings, numbers and tuples of them


class Kept:
    """The files of one training. Only one process at a time may use them
    (builder.atomic.only_writer).

    Attributes:
        computed_on: device and torch version of this machine, and of those that wrote the loaded
            files
    """

    def __init__(
        self,
        folder: Path,
        identity: TrainingIdentity,
        computed_on: dict[str, str],
        overwrite: bool = False,
    ) -> None:
        """With `overwrite`, delete files that are damaged or have another identity."""
        self._folder, self._identity, self.computed_on = folder, identity, computed_on
        on_first(lambda: self._tidy(overwrite))

    def _tidy(self, overwrite: bool) -> None:
        for unfinished in partials_in(self._folder):
            unfinished.unlink()
        for name in (_STATE, _RESULT) if overwrite else ():
            try:
                self._look(name)
            except EvaluateError:
                (self._folder / name).unlink()

    def state(self) -> dict[str, Any] | None:
        """The saved training state; None if there is none. Raises EvaluateError if it is damaged or
        has another identity."""
        content = self._read(_STATE)
        if content is not None:
            self.computed_on = all_machines(content["identity"], self.computed_on)
        return content

    def result(self) -> dict[str, Any] | None:
        """The result of a finished training; None if there is none. Raises as `state` does."""
        content = self._read(_RESULT)
        if content is not None:
            self.computed_on = {key: str(content["identity"].get(key, "")) for key in COMPUTED_ON}
        return content

    def write_state(self, state: dict[str, Any]) -> None:
        """Save the training state. Raises EvaluateError if the disk refuses; the previous state
        remains."""
        on_first(lambda: self._write(_STATE, state))

    def write_result(self, result: dict[str, Any]) -> None:
        """Save the result and delete the training state. Raises EvaluateError if the disk
        refuses."""

        def write() -> None:
            self._write(_RESULT, result)
            (self._folder / _STATE).unlink(missing_ok=True)

        on_first(write)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path, file = self._folder / name, io.BytesIO()
        torch.save(content | {"identity": self._identity | self.computed_on}, file)
        try:
            give_name(write_partial(path, file.getvalue()), path)
        except OSError as error:
            raise EvaluateError(
                f"{cannot_write(path, error)} The same command continues from the last saved state."
            ) from error

    def _read(self, name: str) -> dict[str, Any] | None:
        content: dict[str, Any] | None = None

        def look() -> None:
            nonlocal content
            content = self._look(name)

        on_first(look)
        return from_first(content)

    def _look(self, name: str) -> dict[str, Any] | None:
        path = self._folder / name
        if not path.is_file():
            return None
        content = read_state(path)
        with self._must_be_whole(path):
            if content is None:
                raise ValueError
            self._must_be_same(path, dict(content["identity"]))
            if name == _RESULT and not bool(content["logits"].isfinite().all()):
                raise EvaluateError(
                    f"{path} has NaN or infinite logits, which earlier versions stored; its "
                    "figures are meaningless. Pass --overwrite to test the classifier again."
                )
        return content

    def must_fit(self) -> AbstractContextManager[None]:
        """A context that raises EvaluateError if the content of the files does not fit the
        training."""
        return self._must_be_whole(self._folder)

    @contextmanager
    def _must_be_whole(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise EvaluateError(
                f"{path} is damaged. Pass --overwrite to train the classifier again, or copy the "
                "file again."
            ) from error

    def _must_be_same(self, path: Path, stored: TrainingIdentity) -> None:
        if difference := first_difference(_BEFORE | stored, self._identity, digits=12):
            raise EvaluateError(
                f"{path} was trained with {difference}. Pass --overwrite to train again, or move "
                "the file away to keep it."
            )
