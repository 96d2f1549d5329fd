"""Names as they are shown: nothing in them moves a cursor or ends a line."""


def printable(text: str) -> str:
    """`text` with what no terminal shows (line ends, bytes that are no UTF-8) escaped."""
    return text if text.isprintable() else ascii(text)[1:-1]
