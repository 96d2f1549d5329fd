"""The log of a run: metrics as JSON lines, as TensorBoard events and as text."""

import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from builder.atomic import open_own, write_atomically

LOG_FILE = "log.jsonl"
# Metrics that differ between two runs with the same settings.
TIMES = ("clips_per_second", "data_wait", "hours_in_all")
log = logging.getLogger(__name__)
_ALWAYS = ("loss", "std_appearance", "std_speed", "std_healthy")  # numbers in every line
_NAMED = 5  # damaged lines that a warning lists
_PROJECT_AFTER = 50  # steps after which the duration of the whole run is projected


class TrainingLog:
    """Writes the log of a run. On resume, lines after the restored step are removed, so that the
    log is that of an uninterrupted run."""

    def __init__(self, run: Path, first: int, total: int) -> None:
        self._path = run / LOG_FILE
        self._first, self._total = first, total
        lines = [line for line in self._lines() if line["step"] <= first]
        write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in lines))
        # The writer opens existing files, even links; so the name must not be predictable.
        suffix = f".{secrets.token_hex(6)}"
        self._events = SummaryWriter(str(run), purge_step=first + 1, filename_suffix=suffix)
        self._began = self._since = time.perf_counter()
        self.last: dict[str, Any] = lines[-1] if lines else {}

    def _lines(self) -> list[dict[str, Any]]:
        """The lines of the log so far. A warning names those that cannot be read."""
        texts = self._path.read_bytes().split(b"\n") if self._path.is_file() else []
        lines = [(number, _parsed(text)) for number, text in enumerate(texts, 1) if text]
        if damaged := [str(number) for number, line in lines if line is None]:
            more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
            log.warning(
                "Warning: %s: what cannot be read is dropped, line %s. Training needs none of it.",
                self._path,
                ", ".join(damaged[:_NAMED]) + more,
            )
        return [line for _, line in lines if line is not None]

    def write(self, step: int, numbers: dict[str, float | None], since: tuple[int, float]) -> str:
        """Write a line with `numbers` and times after step `step`. Returns the main ones as text.
        `since`: number of clips, and seconds of waiting for them, since the last line."""
        now, (clips, waited) = time.perf_counter(), since
        line = {
            "step": step,
            "steps": self._total,
            **numbers,
            "clips_per_second": clips / (now - self._since),
            "data_wait": waited / (now - self._since),
            "hours_in_all": self._hours_in_all(step, now),
        }
        self._since = now
        self.last = line
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        # A backup may have made a hard link to it.
        descriptor = open_own(self._path, flags, may_have_names=True)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name not in ("step", "steps") and value is not None:
                self._events.add_scalar(name, value, step)
        return in_words(line)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count as training time."""
        began = time.perf_counter()
        yield
        passed = time.perf_counter() - began
        self._since, self._began = self._since + passed, self._began + passed

    def _hours_in_all(self, step: int, now: float) -> float | None:
        """Projected hours of the whole run at the pace of this process; None at its beginning."""
        done = step - self._first
        if done < min(_PROJECT_AFTER, self._total):
            return None
        return (now - self._began) / done * self._total / 3600

    def close(self) -> None:
        with suppress(OSError):  # a full disk is reported where checkpoints and lines are written
            self._events.close()


def in_words(line: dict[str, Any]) -> str:
    """The main metrics of a line as text, the most important first, as a narrow terminal cuts the
    end off. Std and rank are of the appearance/speed embeddings, in percent of healthy values; R²
    is the share of the speed embeddings' variance that playback speed explains."""
    shares = {
        name: [line[f"{name}_{head}"] / line[f"{name}_healthy"] for head in ("appearance", "speed")]
        for name in ("std", "rank")
    }
    words = [f"{name} {100 * a:.0f}/{s:.0%}" for name, (a, s) in shares.items()]
    if line["speed_told"] is not None:  # None where all embeddings are one point
        words.append(f"speed R² {line['speed_told']:.0%}")
    if "probe_recall@1" in line:
        words.append(f"recall@1 {line['probe_recall@1']:.0%} of held-out groups")
    words += [
        f"loss {line['loss']:.3f}",
        f"ACP {line['loss_appearance']:.3f}",
        f"SCP {line['loss_speed']:.3f}",
        f"correlation {line['correlation']:.2f}",
        f"{line['clips_per_second']:.0f} clips/s",
        f"data wait {line['data_wait']:.0%}",
    ]
    if line["hours_in_all"] is not None:
        words.append(f"{line['hours_in_all']:.2f} h for all {line['steps']} steps")
    return ", ".join(words)


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A line of the log as a dictionary; None if it is damaged or truncated."""
    try:
        line: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return None
    is_ours = isinstance(line, dict) and type(line.get("step")) is int
    if is_ours and all(isinstance(line.get(name), int | float) for name in _ALWAYS):
        return line
    return None
