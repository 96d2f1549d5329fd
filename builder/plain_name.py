"""Names that files give, where they become part of a path."""

_LONGEST = 255  # bytes, of a file's name


def is_plain_name(name: object) -> bool:
    """Whether a name is one part of a path and nothing else: no folder, no control character."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and "/" not in name
        and name not in ("", ".", "..")
        and len(name.encode()) <= _LONGEST
    )
