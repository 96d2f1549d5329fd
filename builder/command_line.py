"""Commands that are printed to be pasted: a name in them is never more than a name."""

import os
import shlex
from pathlib import Path


def quoted(word: object) -> str:
    """`word` as one word of a shell; with `$'...'` (bash, zsh, ksh) where it holds what no terminal
    shows, so that it reaches the program byte for byte. A path is never taken for an option."""
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, os.fsencode(text))) + "'"


def command_line(*words: object) -> str:
    """A command line that can be pasted."""
    return " ".join(map(quoted, words))


def in_python(name: object) -> str:
    """`name` as a text in a line of Python that can be pasted."""
    text = repr(str(name))
    return f'"{text[1:-1]}"' if '"' not in text and "\\'" not in text else text


def _escaped(byte: int) -> str:
    letter = chr(byte)
    return letter if " " <= letter <= "~" and letter not in "'\\" else f"\\x{byte:02x}"
