"""Check names read from a file before they become part of a path."""

_LONGEST = 255  # bytes of a file name


def is_plain_name(name: object) -> bool:
    """Whether a name is a single path component: printable, without a slash, not "." or ".."."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and "/" not in name
        and name not in ("", ".", "..")
        and len(name.encode()) <= _LONGEST
    )
