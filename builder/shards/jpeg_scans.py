"""Limit the number of scans of a JPEG: each is a pass over the image, and costs only a few bytes.

Otherwise a small file could keep a decoder busy for a long time.
"""

MOST_SCANS = 32  # our frames have one scan; progressive JPEGs of any encoder have about ten
# Pixels x bytes up to which the scans cannot take half a second: a scan has at least 12 bytes
# and takes about 1.5 ns per pixel. Most frames are below, and are not checked.
_HARMLESS = 1 << 32

_START, _SCAN = 0xD8, 0xDA  # markers (ITU T.81, table B.1)
_WHOLE = (0xC0, 0xC1)  # sequential frames: a scan holds one or more complete colour components
_SKIPPED = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}  # tables, application data, comments


def must_have_few_scans(jpeg: bytes | memoryview, pixels: int) -> None:
    """Raise ValueError if a JPEG of `pixels` pixels has more than `MOST_SCANS` scans and is large
    enough for that to take long."""
    if len(jpeg) * pixels <= _HARMLESS or _has_one(jpeg):
        return
    if (scans := bytes(jpeg).count(bytes((0xFF, _SCAN)))) > MOST_SCANS:
        raise ValueError(f"it has {scans} scans, and {MOST_SCANS} are read at most")


def _has_one(jpeg: bytes | memoryview) -> bool:
    """Whether the first scan holds all colour components of a sequential JPEG: no decoder reads
    another scan after it. Parses the header only."""
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
