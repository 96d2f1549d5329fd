"""Which colours a file may name: what can be converted to those of a JPEG (BT.601, full range).

A JPEG has no place for a colour matrix: every reader takes it for BT.601 (JFIF 1.02). So frames of
another matrix are converted. Numbers are those of ITU-T H.273, names those of ffmpeg.
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
_RGB = (0, "gbr")  # says nothing of frames that are not RGB
_TRANSFERS = (9, "log100", 10, "log316")  # libswscale refuses what is tagged so


def can_convert(matrix: int | str, pixels: str) -> bool:
    """Whether frames of a matrix (number or name) and a pixel format can be converted."""
    if matrix in _RGB:
        return not pixels.startswith(("yuv", "nv", "p0"))
    return matrix in MATRICES or matrix in MATRICES.values()


def taken_as_unknown(matrix: int | str, transfer: int | str, pixels: str) -> str:
    """The tag of a file that is passed over, in a few words; "" if all are honoured. (A transfer
    function is never converted; only these two are named here, since libswscale refuses them.)"""
    if not can_convert(matrix, pixels):
        return f"colour matrix {matrix} taken as unknown"
    return f"transfer function {transfer} taken as unknown" if transfer in _TRANSFERS else ""
