"""Random hostile changes to JSON, TOML and bytes."""

import json
import random
from collections.abc import Sequence
from typing import Any

STRINGS = (
    "",
    ".",
    "..",
    "../private/secret.tar",
    "/etc/passwd",
    "/dev/zero",
    "private/../../x",
    "pipe:touch RAN; cat {}",
    "pipe:touch RAN",
    "http://127.0.0.1:9/{}",
    "file:///etc/passwd",
    "$(touch RAN)",
    "\x1b]52;c;eHl6\x07",
    "a\x00b",
    "\ud800",
    "x" * 100_000,
    "NaN",
    "{x}",
    "%d",
)
NUMBERS = (0, -1, -3, 1, 7, 10**6, 10**12, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308)
OTHERS = (None, True, False, [], {}, [[]], [[0]], {"": 0}, [None] * 3, [10**12] * 4)
RAW = ("NaN", "Infinity", "-Infinity", "[" * 200_000, '{"a":' * 50_000, "1e999", "9" * 5000)


def value(rng: random.Random, old: Any) -> Any:
    """A hostile replacement for `old`."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(STRINGS)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2 and isinstance(old, int) and not isinstance(old, bool):
        return old + rng.choice((-(10**6), -1, 1, 10**6, 10**12))
    if kind == 2 and isinstance(old, str) and old:
        place = rng.randrange(len(old))
        return old[:place] + rng.choice(STRINGS)[:50] + old[place + 1 :]
    return rng.choice(OTHERS)


def changed(rng: random.Random, tree: Any, times: int) -> Any:
    """Copy a JSON tree and change, remove or add some of its values."""
    tree = json.loads(json.dumps(tree))
    for _ in range(times):
        nests = list(_nests(tree))
        if not nests:
            return value(rng, tree)
        nest = rng.choice(nests)
        key = rng.choice(list(nest) if isinstance(nest, dict) else range(len(nest)))
        action = rng.randrange(8)
        if action == 0:
            del nest[key]
        elif action == 1 and isinstance(nest, list):
            nest.extend(nest[:1] * rng.choice((1, 3)))
        elif action == 1:
            nest[rng.choice(STRINGS)] = nest[key]
        else:
            nest[key] = value(rng, nest[key])
    return tree


def raw(rng: random.Random, text: bytes) -> bytes:
    """Copy bytes and change, cut or repeat some of them, or insert what makes parsers stumble."""
    data = bytearray(text)
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(len(data) + 1)
        action = rng.randrange(5)
        if action == 0:
            del data[place:]
        elif action == 1:
            data[place:place] = rng.choice(RAW).encode()
        elif action == 2:
            data[place : place + rng.randint(0, 9)] = bytes(rng.randrange(256) for _ in range(3))
        elif action == 3:
            data[place:place] = rng.choice(STRINGS).encode("utf-8", "surrogatepass")[:200]
        else:
            data[place:place] = data[place : place + 200]
    return bytes(data)


def picked(rng: random.Random, things: Sequence[Any]) -> Any:
    return things[rng.randrange(len(things))]


def _nests(tree: Any) -> Any:
    if isinstance(tree, dict | list) and tree:
        yield tree
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _nests(inner)
