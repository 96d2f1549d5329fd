"""Check where an HDF5 file keeps its strings, before HDF5 reads them. A forged heap can send HDF5
into an endless loop that ignores signals, or make it allocate as much memory as a length claims.

Only those parts of the format (version 0, which `ascnet` writes) are parsed that lead to strings:
the root's attributes and the global heap collections.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct, error

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = Struct("<8s5x2B49xQ")  # signature, sizes of offsets and lengths, address of root
_HEADER = Struct("<BxHII4x")  # of an object: version, messages, references, block size
_MESSAGE = Struct("<HHB3x")  # kind, bytes, flags
_BLOCK = Struct("<QQ")  # of a header's continuation: address, size
_ATTRIBUTE = Struct("<BBHHH")  # version, flags, sizes of name, type and space
_TEXT = Struct("<IQI")  # length, address of a collection, index in it
_COLLECTION = Struct("<4sB3xQ")  # signature, version, size
_ITEM = Struct("<H6xQ")  # index, size; index 0: free space
_CONTINUED, _IS_ATTRIBUTE, _VARIABLE = 0x10, 0x0C, 9
_SHARED = 2  # of a message's flags
_MOST_BLOCKS = 1000  # of a header


class RefusedError(Exception):
    """A reason to refuse a file, worded for the middle of a sentence."""


def check_attributes(path: Path) -> None:
    """Raise RefusedError if a string among the root's attributes cannot be read safely. Files that
    are not HDF5 pass: HDF5 itself reports them."""
    with path.open("rb") as file:
        number, whole = file.fileno(), os.fstat(file.fileno()).st_size
        begin = os.pread(number, _SUPERBLOCK.size, 0)
        if not begin.startswith(_SIGNATURE) or len(begin) < _SUPERBLOCK.size:
            return
        _, offsets, lengths, root = _SUPERBLOCK.unpack(begin)
        if begin[8] or (offsets, lengths) != (8, 8):
            raise RefusedError(f"it has version {begin[8]} of the HDF5 format")
        try:
            places = list(_texts(number, root, whole))
        except (error, IndexError, OverflowError, OSError) as problem:
            raise RefusedError("its attributes are damaged") from problem
        for length, _, _ in places:
            if length > whole:
                raise RefusedError(f"an attribute claims {length} bytes, and the file has {whole}")
        check_collections(number, whole, (address for _, address, _ in places))


def _texts(number: int, root: int, whole: int) -> Iterator[tuple[int, int, int]]:
    """Length, collection address and index of every string among the attributes of the object at
    `root`."""
    version, _, _, size = _HEADER.unpack(os.pread(number, _HEADER.size, root))
    blocks = [(root + _HEADER.size, size)]
    if version != 1:
        raise RefusedError("its attributes are laid out in another way")
    for place, size in blocks:
        if len(blocks) > _MOST_BLOCKS or size > whole:
            raise RefusedError("its attributes never end")
        block, at = os.pread(number, size, place), 0
        while at + _MESSAGE.size <= len(block):
            kind, length, flags = _MESSAGE.unpack_from(block, at)
            message = block[at + _MESSAGE.size : at + _MESSAGE.size + length]
            at += _MESSAGE.size + length
            if kind == _CONTINUED:
                blocks.append(_BLOCK.unpack_from(message))
            elif kind == _IS_ATTRIBUTE and flags & _SHARED:
                raise RefusedError("its attributes lie elsewhere")
            elif kind == _IS_ATTRIBUTE and (text := _text_of(message)):
                yield text


def _text_of(message: bytes) -> tuple[int, int, int] | None:
    """Length, collection address and index of an attribute's string; None for a number."""
    version, flags, *parts = _ATTRIBUTE.unpack_from(message)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise RefusedError("its attributes are laid out in another way")
    start = _ATTRIBUTE.size + (version == 3)
    name, kind, space = (-(-part // 8) * 8 if version == 1 else part for part in parts)
    if message[start + name] & 0x0F != _VARIABLE:
        return None
    length, address, item = _TEXT.unpack_from(message, start + name + kind + space)
    return length, address, item


def check_collections(number: int, whole: int, addresses: Iterable[int]) -> None:
    """Raise RefusedError if there is no valid string collection at one of the addresses (0: none)
    in a file of `whole` bytes."""
    left = whole
    for address in sorted(set(addresses) - {0}):
        head = os.pread(number, _COLLECTION.size, address) if address < whole else b""
        if len(head) < _COLLECTION.size or not head.startswith(b"GCOL\x01"):
            raise RefusedError(f"there are no strings at byte {address}")
        size = _COLLECTION.unpack(head)[2]
        left -= size
        if size < _COLLECTION.size or address + size > whole or left < 0:
            raise RefusedError(
                f"the strings at byte {address} claim {size} bytes, and the file has {whole}"
            )
        _walk(os.pread(number, size, address), address)


def _walk(collection: bytes, address: int) -> None:
    at, end = _COLLECTION.size, len(collection)
    while at + _ITEM.size <= end:
        item, size = _ITEM.unpack_from(collection, at)
        step = _ITEM.size + -(-size // 8) * 8 if item else size
        if not _ITEM.size <= step <= end - at:
            raise RefusedError(f"string {item} at byte {address} claims {size} bytes")
        at += step
