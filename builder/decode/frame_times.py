"""Times of a video's frames: repair timestamps, and decide whether frames are evenly spaced.

Timestamps may be wrong: in two recordings joined end to end they restart at 0, and a paused camera
leaves a gap of hours. Frames keep their order, whatever the timestamps say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_HOLE = 10.0  # seconds; a longer gap between two frames is shortened to this
UNTIDY = 0.2  # seconds; a step back by less is a muxer's disorder, by more a restart
_TICK = 1e-6  # seconds between two frames with the same timestamp; also the unit of stored times
_SLACK = 0.1  # intervals by which an evenly spaced frame may be off ...
_ROUNDING = 0.001  # ... or seconds: many containers count milliseconds
_RATE_ERROR = 0.01  # relative; by which the stated rate may differ from that of the timestamps


@dataclass(frozen=True)
class Spacing:
    """The spacing in time of a video's frames.

    Attributes:
        fps: average rate; None if unknown
        times: seconds since the first frame; None if evenly spaced
        jumps: whether timestamps ran backwards or left a gap of more than MAX_HOLE
    """

    fps: float | None
    times: tuple[float, ...] | None
    jumps: bool


def spacing(stamps: Sequence[float | None], stated_fps: float | None) -> Spacing:
    """Derive the spacing from the frames' timestamps (seconds, one per frame, in the order of the
    frames; None where the file has none). `stated_fps` is kept if the timestamps agree with it."""
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
    """Convert timestamps (float64, NaN: unknown) to rising times (float64, seconds, the first is
    0); also return whether the timestamps jumped.

    After a step back, time continues one median interval later (`interval` if none is known).
    Timestamps that are only slightly out of order become _TICK apart. A gap is at most MAX_HOLE.
    """
    gaps = np.diff(_fill(stamps, interval))
    usual = gaps[(gaps > 0) & (gaps <= MAX_HOLE)]
    backwards, holes = gaps < 0, gaps > MAX_HOLE
    gaps[gaps < -UNTIDY] = np.median(usual) if len(usual) else interval
    gaps[holes] = MAX_HOLE
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    ticks = np.arange(len(stamps))
    # Whole ticks before they are made to rise: rounded after it, two of them could be equal.
    rising = np.maximum.accumulate(np.rint(times / _TICK).astype(np.int64) - ticks) + ticks
    return rising * _TICK, bool(backwards.any() or holes.any())


def _fill(stamps: np.ndarray, interval: float) -> np.ndarray:
    """Set each unknown timestamp `interval` seconds after the one before it."""
    filled = stamps.copy()
    for i in np.flatnonzero(np.isnan(filled)).tolist():
        filled[i] = filled[i - 1] + interval if i else np.nanmin(stamps) - interval
    return filled


def setpts(interval: float) -> str:
    """`mend` as an expression for ffmpeg's filter setpts, with a time base of 1/1000000.

    Registers: 0 is the offset added to timestamps, 1 the last normal gap, 2 the current gap.
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
