"""What a classifier's training leaves on the disk, whole or not at all.

    state.pt      after the last epoch that was finished, or the step after which training was
                  stopped; goes when the result is there
    result.pt     the result and the logits; the training is over

Both hold the identity: everything that decides the numbers, and with it what computed them. Neither
needs a pickle. Of several ranks the first reads and writes them.
"""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch

from builder.atomic import give_name, partials_in, write_partial
from evaluate.errors import EvaluateError
from evaluate.identity_check import COMPUTED_ON, all_machines, first_difference
from trainer.agreement import from_first, on_first
from trainer.run.checkpoint import read_state

_STATE, _RESULT = "state.pt", "result.pt"
_BEFORE = {"settings.head": "linear", "settings.heads": 0}  # of files that do not say so
TrainingIdentity = dict[str, Any]  # of text, numbers and tuples of them


class Kept:
    """The files of one training; one process at a time (builder.atomic.only_writer).

    Attributes:
        computed_on: this machine, and those that what was read here was computed on
    """

    def __init__(
        self,
        folder: Path,
        identity: TrainingIdentity,
        computed_on: dict[str, str],
        overwrite: bool = False,
    ) -> None:
        """`overwrite`: take away what is of another identity, or damaged."""
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
        """What was written last; None if nothing was. Raises EvaluateError if it is damaged or of
        another identity."""
        content = self._read(_STATE)
        if content is not None:
            self.computed_on = all_machines(content["identity"], self.computed_on)
        return content

    def result(self) -> dict[str, Any] | None:
        """The finished result; None if it is not there yet. Raises as `state` does."""
        content = self._read(_RESULT)
        if content is not None:
            self.computed_on = {key: str(content["identity"].get(key, "")) for key in COMPUTED_ON}
        return content

    def write_state(self, state: dict[str, Any]) -> None:
        """Raises EvaluateError if the disk refuses; the state before is left as it is."""
        on_first(lambda: self._write(_STATE, state))

    def write_result(self, result: dict[str, Any]) -> None:
        """From then on nothing needs to be trained. Raises EvaluateError if the disk refuses."""

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
                f"Cannot write {path}: {error.strerror}. Make room and give the same command "
                "again: it goes on after what was kept last."
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
                    f"{path} holds logits that are NaN or infinite, which earlier versions kept: "
                    "its figures are of no worth. Say --overwrite to test the classifier anew."
                )
        return content

    def must_fit(self) -> AbstractContextManager[None]:
        """Raises EvaluateError where what was kept is not what training needs, or its result."""
        return self._must_be_whole(self._folder)

    @contextmanager
    def _must_be_whole(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise EvaluateError(
                f"{path} is damaged. Say --overwrite to train the classifier anew, or copy the "
                "file again."
            ) from error

    def _must_be_same(self, path: Path, stored: TrainingIdentity) -> None:
        if difference := first_difference(_BEFORE | stored, self._identity, digits=12):
            raise EvaluateError(
                f"{path} was trained with {difference}. Say --overwrite to train anew, or move the "
                "file away to keep it."
            )
