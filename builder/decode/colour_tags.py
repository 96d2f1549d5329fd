"""Colour tags of video files, and which can be converted to JPEG's colours (BT.601, full range).

A JPEG cannot store a colour matrix: every reader assumes BT.601 (JFIF 1.02). So frames with another
matrix are converted. Numbers are those of ITU-T H.273, names those of ffmpeg.
"""

MATRICES = {
    1: "bt709",
    2: "unknown",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020nc",
}
_RGB = (0, "gbr")  # meaningless for frames that are not RGB
_TRANSFERS = (9, "log100", 10, "log316")  # libswscale refuses frames with these tags


def can_convert(matrix: int | str, pixels: str) -> bool:
    """Whether frames with a colour matrix (number or name) and a pixel format can be converted."""
    if matrix in _RGB:
        return not pixels.startswith(("yuv", "nv", "p0"))
    return matrix in MATRICES or matrix in MATRICES.values()


def taken_as_unknown(matrix: int | str, transfer: int | str, pixels: str) -> str:
    """Name the colour tag that must be ignored; "" if all are honoured. (Transfer functions are
    never converted; two of them are treated as unknown, as libswscale refuses them.)"""
    if not can_convert(matrix, pixels):
        return f"colour matrix {matrix} taken as unknown"
    return f"transfer function {transfer} taken as unknown" if transfer in _TRANSFERS else ""
