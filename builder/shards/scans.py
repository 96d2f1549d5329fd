"""How many passes over its picture a JPEG takes: each costs time, and few bytes ask for it."""

from functools import lru_cache

MOST_SCANS = 32  # of a frame; ours has one, and a progressive one of any encoder has some ten

_START, _SCAN = 0xD8, 0xDA  # markers (ITU T.81, table B.1)
_WHOLE = (0xC0, 0xC1)  # of a frame whose scans are of one or more of its colours, and no more
_SCAN_MARKER = bytes((0xFF, _SCAN))
_SKIPPED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}  # tables, and what says nothing of scans


def must_have_few_scans(jpeg: bytes) -> None:
    """Raises ValueError for a JPEG of more scans than `MOST_SCANS`."""
    # Frames of a video have the same header, so that most need no look at it.
    header = jpeg[: jpeg.find(_SCAN_MARKER) + 5]
    if not _has_one(header) and (scans := jpeg.count(_SCAN_MARKER)) > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, and {MOST_SCANS} are read at most")


@lru_cache(1024)
def _has_one(header: bytes) -> bool:
    """Whether the first scan is of a whole picture: no decoder reads another after it. `header`:
    to the number of colours in that scan."""
    colours, at = 0, 2
    try:
        if header[1] != _START:
            return False
        while header[at] == 0xFF:
            marker = header[at + 1]
            if marker == _SCAN:
                return header[at + 4] == colours
            if marker in _WHOLE:
                colours = header[at + 9]
            elif marker not in _SKIPPED:
                return False
            at += 2 + (header[at + 2] << 8) + header[at + 3]
    except IndexError:
        pass
    return False
