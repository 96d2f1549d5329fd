"""How many passes over its picture a JPEG takes: each costs time, and few bytes ask for it."""

MOST_SCANS = 32  # of a frame; ours has one, and a progressive one of any encoder has some ten
# Pixels x bytes up to which no number of scans takes half a second: a scan has 12 bytes at least
# and takes some 1.5 ns a pixel. Most frames are below, and are not looked at.
_HARMLESS = 1 << 32

_START, _SCAN = 0xD8, 0xDA  # markers (ITU T.81, table B.1)
_WHOLE = (0xC0, 0xC1)  # of a frame whose scans are of one or more of its colours, and no more
_SKIPPED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}  # tables, and what says nothing of scans


def must_have_few_scans(jpeg: bytes | memoryview, pixels: int) -> None:
    """Raises ValueError for a JPEG of so many pixels whose scans take long: of more than
    `MOST_SCANS`."""
    if len(jpeg) * pixels <= _HARMLESS or _has_one(jpeg):
        return
    if (scans := bytes(jpeg).count(bytes((0xFF, _SCAN)))) > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, and {MOST_SCANS} are read at most")


def _has_one(jpeg: bytes | memoryview) -> bool:
    """Whether the first scan is of a whole picture: no decoder reads another after it. Only the
    header is walked."""
    colours, at = 0, 2
    try:
        if jpeg[1] != _START:
            return False
        while jpeg[at] == 0xFF:
            marker = jpeg[at + 1]
            if marker == _SCAN:
                return jpeg[at + 4] == colours
            if marker in _WHOLE:
                colours = jpeg[at + 9]
            elif marker not in _SKIPPED:
                return False
            at += 2 + (jpeg[at + 2] << 8) + jpeg[at + 3]
    except IndexError:
        pass
    return False
