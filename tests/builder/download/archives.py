"""Make archives of toy files, and read what was unpacked."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

# A toy UCF-101 of four videos: paths on its server, and contents.
RAR = "/data/UCF101/UCF101.rar"
ZIP = "/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip"
VIDEOS = {
    f"UCF-101/{name}/v_{name}_g{group:02d}_c01.avi": name.encode() * group
    for name in ("Archery", "Biking")
    for group in (1, 9)
}
LISTS = {"ucfTrainTestlist/classInd.txt": b"1 Archery\n2 Biking\n"}


def rar_of(
    files: dict[str, bytes],
    *,
    method: int = 0x30,  # stored
    mode: int = 0o100644,
    solid: bool = False,
    wrong_crc: bool = False,
) -> bytes:
    """Make a RAR 3 archive. With a compressing method (0x33) the data are still stored plainly."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    parts = [b"Rar!\x1a\x07\x00", block(0x73, 0x0008 if solid else 0, bytes(6))]
    for name, content in files.items():
        size, encoded = len(content), name.encode()
        crc = zlib.crc32(content) ^ wrong_crc
        fields = struct.pack(
            "<LLBLLBBHL", size, size, 3, crc, 0x21 << 16, 29, method, len(encoded), mode
        )
        parts += [block(0x74, 0x8000, fields + encoded), content]
    return b"".join([*parts, block(0x7B, 0x4000, b"")])


def zip_of(files: dict[str, bytes], mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_of(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def tar_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tool(folder: Path, script: str = "exit 0") -> None:
    """Make a fake program `unrar` in `folder` that runs a shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "unrar"
    program.write_text(f'#!/bin/sh\n[ "$1" = p ] || exit 0\n{script}\n')
    program.chmod(0o755)


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
