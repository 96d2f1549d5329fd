"""Where HDF5 keeps texts, looked at before HDF5 reads them: a forged heap makes it look for its end
for ever, deaf to signals, or takes as much memory as a length says.

Of the file's format (version 0, as `ascnet` writes it) no more is known here than what leads to the
texts: the root's attributes, and the collections of a global heap.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct, error

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = Struct("<8s5x2B49xQ")  # signature, sizes of offsets and lengths, root's header
_HEADER = Struct("<BxHII4x")  # of an object: version, messages, references, bytes of a block
_MESSAGE = Struct("<HHB3x")  # kind, bytes, flags
_BLOCK = Struct("<QQ")  # address, bytes: where the header goes on
_ATTRIBUTE = Struct("<BBHHH")  # version, flags, bytes of name, type and space
_TEXT = Struct("<IQI")  # length, address of a collection, number in it
_COLLECTION = Struct("<4sB3xQ")  # signature, version, bytes
_ITEM = Struct("<H6xQ")  # number, bytes; number 0: free space
_CONTINUED, _IS_ATTRIBUTE, _VARIABLE = 0x10, 0x0C, 9
_SHARED = 2  # of a message's flags
_MOST_BLOCKS = 1000  # of a header


class RefusedError(Exception):
    """What is wrong, for the middle of a sentence."""


def check_attributes(path: Path) -> None:
    """Raises RefusedError if a text of the root's attributes cannot be read. A file that is no HDF5
    is left to HDF5."""
    with path.open("rb") as file:
        number, whole = file.fileno(), os.fstat(file.fileno()).st_size
        begin = os.pread(number, _SUPERBLOCK.size, 0)
        if not begin.startswith(_SIGNATURE) or len(begin) < _SUPERBLOCK.size:
            return
        _, offsets, lengths, root = _SUPERBLOCK.unpack(begin)
        if begin[8] or (offsets, lengths) != (8, 8):
            raise RefusedError(f"it is of version {begin[8]} of the format")
        try:
            places = list(_texts(number, root, whole))
        except (error, IndexError, OverflowError, OSError) as problem:
            raise RefusedError("its attributes are damaged") from problem
        for length, _, _ in places:
            if length > whole:
                raise RefusedError(f"an attribute has {length} bytes, and the file {whole}")
        check_collections(number, whole, (address for _, address, _ in places))


def _texts(number: int, root: int, whole: int) -> Iterator[tuple[int, int, int]]:
    """Length and place of every text among the attributes of the object at `root`."""
    version, _, _, size = _HEADER.unpack(os.pread(number, _HEADER.size, root))
    blocks = [(root + _HEADER.size, size)]
    if version != 1:
        raise RefusedError("its attributes are laid out in another way")
    for place, size in blocks:
        if len(blocks) > _MOST_BLOCKS or size > whole:
            raise RefusedError("its attributes have no end")
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
    """Length and place of an attribute's text; None if it is a number."""
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
    """Raises RefusedError for an address (0: none) where no sound collection of texts is in a file
    of `whole` bytes."""
    left = whole
    for address in sorted(set(addresses) - {0}):
        head = os.pread(number, _COLLECTION.size, address) if address < whole else b""
        if len(head) < _COLLECTION.size or not head.startswith(b"GCOL\x01"):
            raise RefusedError(f"no texts are at byte {address}")
        size = _COLLECTION.unpack(head)[2]
        left -= size
        if size < _COLLECTION.size or address + size > whole or left < 0:
            raise RefusedError(
                f"the texts at byte {address} have {size} bytes, the file has {whole}"
            )
        _walk(os.pread(number, size, address), address)


def _walk(collection: bytes, address: int) -> None:
    at, end = _COLLECTION.size, len(collection)
    while at + _ITEM.size <= end:
        item, size = _ITEM.unpack_from(collection, at)
        step = _ITEM.size + -(-size // 8) * 8 if item else size
        if not _ITEM.size <= step <= end - at:
            raise RefusedError(f"text {item} at byte {address} has {size} bytes")
        at += step
