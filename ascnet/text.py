"""Sizes in sentences."""


def file_size(size: int) -> str:
    """Bytes in words: "12 kB", "1.5 MB"."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
