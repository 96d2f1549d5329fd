"""The numbers of a run, as JSON lines, TensorBoard events and words."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from builder.atomic import write_atomically

LOG_FILE = "log.jsonl"
# What differs between two runs of the same settings: times.
TIMES = ("clips_per_second", "data_wait", "hours_in_all")
_PROJECT_AFTER = 50  # steps: from then on the hours of the whole run are projected


class Log:
    """On resume, lines after the step to go on with are cut off, so that the log reads as if
    nothing had happened."""

    def __init__(self, run: Path, first: int, total: int) -> None:
        self._path = run / LOG_FILE
        self._first, self._total = first, total
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= first]
        write_atomically(self._path, "".join(line + "\n" for line in kept))
        self._events = SummaryWriter(str(run), purge_step=first + 1)
        self._began = self._since = time.perf_counter()
        self.last: dict[str, Any] = json.loads(kept[-1]) if kept else {}

    def write(self, step: int, numbers: dict[str, float | None], since: tuple[int, float]) -> str:
        """Write a line of `numbers` and times after step `step`; the main ones come back in words.
        `since`: clips, and seconds of waiting for them, since the last line."""
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
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name not in ("step", "steps") and value is not None:
                self._events.add_scalar(name, value, step)
        return in_words(line)

    def _hours_in_all(self, step: int, now: float) -> float | None:
        """What the whole run takes at the pace of this process; None while that is unknown."""
        done = step - self._first
        if done < min(_PROJECT_AFTER, self._total):
            return None
        return (now - self._began) / done * self._total / 3600

    def close(self) -> None:
        with suppress(OSError):  # a full disk was or will be named where it matters
            self._events.close()


def in_words(line: dict[str, Any]) -> str:
    """The main numbers of a line."""
    words = [
        f"loss {line['loss']:.3f} (appearance {line['loss_appearance']:.3f}, speed "
        f"{line['loss_speed']:.3f}), correlation {line['correlation']:.2f}",
        f"std {line['std_appearance']:.3f}/{line['std_speed']:.3f} of {line['std_healthy']:.3f}",
        f"rank {line['rank_appearance']:.0f}/{line['rank_speed']:.0f} of "
        f"{line['rank_healthy']:.0f}",
        f"{line['clips_per_second']:.0f} clips/s",
        f"data wait {line['data_wait']:.0%}",
    ]
    if line["speed_told"] is not None:  # None where all embeddings are one point
        words.insert(3, f"speed told {line['speed_told']:.0%}")
    if line["hours_in_all"] is not None:
        words.append(f"{line['hours_in_all']:.2f} h for all {line['steps']} steps")
    return ", ".join(words)
