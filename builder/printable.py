"""Names for a terminal: nothing in them moves the cursor or ends the line."""


def printable(text: str) -> str:
    """Escape `text` if it holds unprintable characters (line ends, bytes that are not UTF-8)."""
    return text if text.isprintable() else ascii(text)[1:-1]
