"""Check that an HDF5 file contains only what a feature store contains. A file from elsewhere can
refer to other files, require plug-ins to decode it, or claim to be far larger than it is.

Every item is checked before it is read: its link, type, location and size.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import h5py
import numpy as np
from h5py import h5a, h5d, h5pl, h5s

from evaluate.errors import EvaluateError
from evaluate.features.hdf5_heaps import RefusedError, check_attributes, check_collections

_NUMBERS = {  # type and number of columns; 0: one-dimensional, -1: number of channels
    "features": ("f4", -1),
    "clip_features": ("f4", -1),
    "clip_video": ("i4", 0),
    "clip_frames": ("i4", 2),
    "clip_seconds": ("f8", 2),
    "duration": ("f8", 0),
    "label": ("i8", 0),
    "fps": ("f8", 0),
    "frames": ("i8", 0),
    "done": ("u1", 0),
}
_OF_CLIPS = ("clip_features", "clip_video", "clip_frames", "clip_seconds")
_CHUNKED = ("features", "clip_features")
_TEXTS = ("name", "class", "group")
_GROUPS = ("splits", "factors")
_MAY_LACK = ("clip_seconds", "duration", *_GROUPS)
_ATTRIBUTES = 1000  # maximum; a store has about thirty
_MEMBERS = 1000  # maximum in a group; a store has a dozen
_LOOK_BYTES = 512 << 20  # of memory for checking a file; a store needs a few MB
# How a list refers to its strings.
_PLACE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])

_lock = RLock()
_within: list[None] = []  # one for each active `no_plugins`
_paths: list[bytes] = []  # plug-in paths that they removed


@contextmanager
def no_plugins() -> Iterator[None]:
    """Keep HDF5 from loading decoding plug-ins. (Stores are never compressed, but the attributes'
    heap of a forged file may claim to be.)"""
    with _lock:
        _within.append(None)
        while h5pl.size():
            _paths.append(h5pl.get(0))
            h5pl.remove(0)
    try:
        yield
    finally:
        with _lock:
            _within.pop()
            while _paths and not _within:
                h5pl.append(_paths.pop(0))


@contextmanager
def little_memory() -> Iterator[None]:
    """Limit this process to `_LOOK_BYTES` of further memory: a forged file may claim gigabytes of
    names."""
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _LOOK_BYTES
        if soft == resource.RLIM_INFINITY or soft > most:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def must_have_sound_texts(path: Path) -> None:
    """Raise EvaluateError, with the reason, if it is not safe that HDF5 reads the file's
    attributes."""
    with _refusing(path):
        check_attributes(path)


def must_be_ours(file: h5py.File, path: Path) -> None:
    """Raise EvaluateError, with the reason, if an open file contains anything that no feature store
    of this schema contains, or claims more data than it has bytes. The features are not read."""
    with _refusing(path):
        if file.userblock_size:
            raise RefusedError(f"it begins with {file.userblock_size} foreign bytes")
        members = {name: _dataset(file, name) for name in _names(file) if name not in _GROUPS}
        for name in (*_NUMBERS, *_TEXTS):
            if name not in members and name not in _MAY_LACK:
                raise RefusedError(f"it lacks {name}")
        members |= {
            f"{group}/{name}": _dataset(file[group], name)
            for group in _GROUPS
            if file.id.links.exists(group.encode())
            for name in _group(file, group)
        }
        shape = members["features"].shape
        if len(shape) != 2 or not all(shape):
            raise RefusedError(f"its features have the shape {shape}")
        needed = sum(_size(file, name, data) for name, data in members.items())
        clips = len(members["clip_video"])
        for name, data in members.items():
            rows = clips if name in _OF_CLIPS else shape[0]
            columns = _NUMBERS.get(name, ("", 0))[1]
            wanted = (rows,) if not columns else (rows, columns if columns > 0 else shape[1])
            if data.shape != wanted:
                raise RefusedError(
                    f"{name} has the shape {data.shape}, and the rest of the file requires {wanted}"
                )
        whole = _file_size(file)
        if needed > whole:
            raise RefusedError(f"its content claims {needed} bytes, and the file has {whole}")


def attributes(file: h5py.File, path: Path) -> dict[str, str | int | float]:
    """The attributes of an open file, which are strings and single numbers. Raises EvaluateError if
    there are others, or if they claim more bytes than the file has."""
    whole = left = _file_size(file)
    values: dict[str, str | int | float] = {}
    with _refusing(path):
        if h5a.get_num_attrs(file.id) > _ATTRIBUTES:
            raise RefusedError(f"it has {h5a.get_num_attrs(file.id)} attributes")
        for name in file.attrs:
            attribute = h5a.open(file.id, name.encode("utf-8", "surrogateescape"))
            kind, is_text = attribute.dtype.kind, h5py.check_string_dtype(attribute.dtype)
            is_single = attribute.get_space().get_simple_extent_type() == h5s.SCALAR
            if not is_single or not (is_text or kind in "biuf"):
                raise RefusedError(f"its attribute {name[:40]} is neither a string nor a number")
            left -= attribute.get_storage_size()  # for a string, of the reference to it
            value = file.attrs[name] if left >= 0 else ""
            value = value.item() if isinstance(value, np.generic) else value
            left -= len(value) if isinstance(value, str | bytes) else 0
            if left < 0:
                raise RefusedError(f"its attributes claim more than the {whole} bytes of the file")
            values[name] = value
    return values


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn RefusedError into EvaluateError."""
    try:
        yield
    except RefusedError as error:
        raise EvaluateError(refused(path, str(error))) from None


def _file_size(file: h5py.File) -> int:
    return os.fstat(file.id.get_vfd_handle()).st_size


def refused(path: Path, what: str) -> str:
    """The message about a file that ascnet cannot have written; `what` is worded for the middle of
    a sentence."""
    return (
        f"{path} is refused: {what}, unlike any feature store of ascnet. It is damaged or "
        "malicious: do not use it, and extract the features again."
    )


def _names(group: h5py.Group) -> list[str]:
    if len(group) > _MEMBERS:
        raise RefusedError(f"it has {len(group)} members")
    names = list(group)
    for name in names:
        if group.name == "/" and name not in (*_NUMBERS, *_TEXTS, *_GROUPS):
            raise RefusedError(f"it contains {name[:40]!r}")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise RefusedError(f"its {name[:40]} is a link")
    return names


def _group(file: h5py.File, name: str) -> list[str]:
    if not isinstance(file[name], h5py.Group):
        raise RefusedError(f"its {name} is not a group")
    return _names(file[name])


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    data = group[name]
    if not isinstance(data, h5py.Dataset):
        raise RefusedError(f"its {name[:40]} is not an HDF5 dataset")
    # Checked first, as reading the shape of a virtual dataset opens other files.
    how = data.id.get_create_plist()
    if how.get_layout() == h5d.VIRTUAL or how.get_external_count():
        raise RefusedError(f"its {name[:40]} lies in another file")
    if how.get_nfilters():
        raise RefusedError(f"its {name[:40]} is compressed")
    wanted = h5d.CHUNKED if group.name == "/" and name in _CHUNKED else h5d.CONTIGUOUS
    if how.get_layout() != wanted:
        raise RefusedError(f"its {name[:40]} is laid out in another way")
    if wanted == h5d.CHUNKED and len(how.get_chunk()) != data.id.rank:  # HDF5 does not check this
        raise RefusedError(f"its {name[:40]} has blocks of {len(how.get_chunk())} dimensions")
    return data


def _size(file: h5py.File, name: str, data: h5py.Dataset) -> int:
    """Bytes in memory of a dataset, all of which must be stored in the file."""
    kind = _NUMBERS.get(name, ("", 0))[0]
    text = h5py.check_string_dtype(data.dtype)
    if name.startswith("factors/") and text is None:
        kind = "f8"
    is_right = data.dtype == np.dtype(kind) if kind else text is not None and text.length is None
    if not is_right:
        raise RefusedError(f"its {name[:40]} has the type {data.dtype}")
    # HDF5 would fill in the rest.
    stored = data.id.get_storage_size()
    if stored < data.size * data.id.get_type().get_size():
        raise RefusedError(f"its {name[:40]} has {stored} bytes for {data.size} values")
    return int(stored) if kind else int(stored) + _letters(file, data)


def _letters(file: h5py.File, texts: h5py.Dataset) -> int:
    """Bytes of all strings of a list, from its references alone, before a string is read. Several
    may refer to one long string."""
    if not texts.size:
        return 0
    size = texts.size * _PLACE.itemsize
    if texts.id.get_storage_size() != size:
        raise RefusedError(f"its {texts.name[1:41]} is laid out in another way")
    places = os.pread(file.id.get_vfd_handle(), size, texts.id.get_offset())
    if len(places) != size:
        raise RefusedError(f"its {texts.name[1:41]} is cut short")
    rows = np.frombuffer(places, _PLACE)
    addresses = np.unique(rows["address"]).tolist()
    check_collections(file.id.get_vfd_handle(), _file_size(file), addresses)
    return int(rows["length"].sum(dtype=np.uint64))
