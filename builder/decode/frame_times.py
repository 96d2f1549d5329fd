"""When the frames of a video are shown: mended time stamps, and whether frames are evenly spaced.

A time stamp is a file's word, and files lie: two recordings joined end to end begin again at 0, a
camera that was paused leaves a hole of hours. Frames keep their order, whatever the stamps say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_HOLE = 10.0  # seconds; a longer hole between two frames is taken for one of this length
UNTIDY = 0.2  # seconds; stamps out of order by less are a muxer's, by more a new beginning
_TICK = 1e-6  # seconds between two frames with one stamp; also the unit of stored times
_SLACK = 0.1  # intervals that an evenly spaced frame may be off ...
_ROUNDING = 0.001  # ... or seconds: many containers count milliseconds
_RATE_ERROR = 0.01  # by which a file's stated rate may differ from that of its stamps


@dataclass(frozen=True)
class Spacing:
    """How the frames of a video lie in time.

    Attributes:
        fps: average rate; None: unknown
        times: seconds after the first frame; None: evenly spaced
        jumps: whether stamps ran backwards or left a hole of more than MAX_HOLE
    """

    fps: float | None
    times: tuple[float, ...] | None
    jumps: bool


def spacing(stamps: Sequence[float | None], stated_fps: float | None) -> Spacing:
    """Judge the frames' time stamps (seconds, one a frame, in the order of the frames; None: the
    file does not say). `stated_fps` is kept where the stamps agree with it."""
    raw = np.array([np.nan if stamp is None else stamp for stamp in stamps], np.float64)
    if len(raw) < 2 or np.isnan(raw).all():
        return Spacing(stated_fps, None, False)
    times, jumps = mend(raw, 1 / stated_fps if stated_fps else 1 / 25)
    interval = times[-1] / (len(times) - 1)
    fps = round(1 / interval, 2)
    slack = max(_SLACK * interval, _ROUNDING)
    off = np.abs(times - interval * np.arange(len(times))).max()
    if off > slack:
        return Spacing(fps, tuple(np.round(times, 6).tolist()), jumps)
    if stated_fps:
        drift = abs(interval - 1 / stated_fps) * (len(times) - 1)
        if drift <= slack or abs(interval * stated_fps - 1) <= _RATE_ERROR:
            fps = stated_fps
    return Spacing(fps, None, jumps)


def mend(stamps: np.ndarray, interval: float) -> tuple[np.ndarray, bool]:
    """Rising times (float64, seconds, the first is 0) from stamps (float64, NaN: unknown), and
    whether these jumped.

    After a step back, time goes on from where it was, one usual interval later (`interval` where
    no stamp tells); stamps that are only out of order are set side by side. A hole is MAX_HOLE at
    the most.
    """
    gaps = np.diff(_fill(stamps, interval))
    usual = gaps[(gaps > 0) & (gaps <= MAX_HOLE)]
    backwards, holes = gaps < 0, gaps > MAX_HOLE
    gaps[gaps < -UNTIDY] = np.median(usual) if len(usual) else interval
    gaps[holes] = MAX_HOLE
    ticks = _TICK * np.arange(len(stamps))
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    return np.maximum.accumulate(times - ticks) + ticks, bool(backwards.any() or holes.any())


def _fill(stamps: np.ndarray, interval: float) -> np.ndarray:
    """The stamps, each unknown one set `interval` seconds after the one before it."""
    filled = stamps.copy()
    for i in np.flatnonzero(np.isnan(filled)).tolist():
        filled[i] = filled[i - 1] + interval if i else np.nanmin(stamps) - interval
    return filled


def setpts(interval: float) -> str:
    """`mend` as an expression of ffmpeg's filter setpts, for a time base of 1/1000000.

    Registers: 0 what is added to the stamps, 1 the last usual gap, 2 this gap.
    """
    hole, untidy = round(MAX_HOLE * 1e6), round(UNTIDY * 1e6)
    return (
        f"if(isnan(PREV_OUTPTS),st(1,{round(interval * 1e6)});PTS,"
        "if(isnan(PTS),PREV_OUTPTS+ld(1),"
        "st(2,if(isnan(PREV_INPTS),ld(1),PTS-PREV_INPTS));"
        f"if(gt(ld(2),{hole}),st(0,ld(0)-ld(2)+{hole}));"
        f"if(lt(ld(2),-{untidy}),st(0,ld(0)-ld(2)+ld(1)));"
        f"if(between(ld(2),1,{hole}),st(1,ld(2)));"
        "max(PTS+ld(0),PREV_OUTPTS+1)))"
    )
