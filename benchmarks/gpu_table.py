"""Settings, measurements and table of `make bench-gpu`."""

from collections.abc import Sequence
from dataclasses import dataclass

from builder.text_table import markdown


@dataclass(frozen=True)
class Setting:
    recipe: str
    backbone: str
    frames: int
    size: int
    batch: int  # videos, with two clips each

    @property
    def clip(self) -> str:
        return f"{self.frames}x{self.size}"


@dataclass(frozen=True)
class Row:
    setting: Setting
    precision: str
    batch: int
    pairs: float  # two-clip samples per second; 0: not measured, `note` says why
    waited: float  # share of the time that the loop waited for clips
    memory: float | None  # peak memory on the GPU in bytes
    note: str = ""


def table(rows: Sequence[Row]) -> str:
    """Format rows as a markdown table; each is compared with the fp32 row of its setting."""
    base = {row.setting: row.pairs for row in rows if row.precision == "fp32"}
    head = "backbone, clip, precision, videos a step, pairs/s, of fp32, data wait, memory"
    lines = [head.split(", ")]
    for row in rows:
        figures = [row.note, "", "", ""]
        if row.pairs:
            fp32 = base.get(row.setting)
            ratio = f"{row.pairs / fp32:.2f} x" if fp32 else ""
            memory = f"{row.memory / 2**30:.1f} GiB" if row.memory is not None else ""
            figures = [f"{row.pairs:.1f}", ratio, f"{row.waited:.0%}", memory]
        what = [row.setting.backbone, row.setting.clip, row.precision, str(row.batch)]
        lines.append([*what, *figures])
    return markdown(lines)
