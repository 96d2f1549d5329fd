"""Quote commands that are printed for pasting, so that no file name is taken for code."""

import os
import shlex
from pathlib import Path


def quoted(word: object) -> str:
    """Quote `word` for a shell. Text with unprintable characters becomes `$'...'` (bash, zsh, ksh),
    so that it reaches the program byte for byte. A path is never taken for an option."""
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, os.fsencode(text))) + "'"


def command_line(*words: object) -> str:
    """Join words to a command line that can be pasted into a shell."""
    return " ".join(map(quoted, words))


def in_python(name: object) -> str:
    """`name` as a string literal for a line of Python that can be pasted."""
    text = repr(str(name))
    return f'"{text[1:-1]}"' if '"' not in text and "\\'" not in text else text


def _escaped(byte: int) -> str:
    letter = chr(byte)
    return letter if " " <= letter <= "~" and letter not in "'\\" else f"\\x{byte:02x}"
