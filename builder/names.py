"""Names that files give, where they become part of a path."""

_LONGEST = 200  # bytes; file systems take 255, and endings are added


def is_plain_name(name: object) -> bool:
    """Whether a name is one part of a path and nothing else: no folder, no hidden file, no control
    character."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and "/" not in name
        and not name.startswith(".")
        and 0 < len(name.encode()) <= _LONGEST
    )
