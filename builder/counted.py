"""Numbers in sentences."""


def counted(number: int, noun: str) -> str:
    """ "1 clip", "2 clips"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def file_size(size: int) -> str:
    """Bytes in words: "12 kB", "1.5 MB"."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
