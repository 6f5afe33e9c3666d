"""Reads the beginning of a .blend without Blender: the version that wrote it, and the frame range.

Source: Blender's own `doc/blender_file_format` (file header, file-block headers). The block REND holds the first and
last frame of the scene that is open, two 32-bit integers, so that other programs need not read more.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard

from distren.errors import SceneError

_HEADER = re.compile(rb"BLENDER(?:(?P<pointer>[-_])(?P<order>[vV])(?P<version>\d{3})|17-01v(?P<large>\d{4}))")
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_FAR = 64 * 2**20
"""bytes; the block is among the first"""


@dataclass(frozen=True, kw_only=True)
class Header:
    """`version` is for example (3, 4); `first` and `last` are the frame range, None where the file does not say it."""

    version: tuple[int, int]
    compressed: bool
    first: int | None = None
    last: int | None = None


def read(path: Path) -> Header:
    """The header of the .blend `path`. Raises SceneError where it is none, or can not be read."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            compressed = magic.startswith((_GZIP, _ZSTANDARD))
            return _read(_plain(file, magic), path, compressed)
    except OSError as error:
        raise SceneError(f"'{path}' can not be read: {error.strerror or error}") from error
    except (EOFError, struct.error, zlib.error, zstandard.ZstdError) as error:
        raise SceneError(f"'{path.name}' is damaged: its beginning can not be read as a .blend") from error


def _plain(file: BinaryIO, magic: bytes) -> BinaryIO:
    if magic.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if magic == _ZSTANDARD:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return io.BufferedReader(reader)
    return file


def _read(file: BinaryIO, path: Path, compressed: bool) -> Header:
    start = file.read(12)
    if start.startswith(b"BLENDER17"):
        start += file.read(5)
    found = _HEADER.fullmatch(start)
    if found is None:
        raise SceneError(f"'{path.name}' is no .blend: save it with Blender")
    digits = (found["version"] or found["large"]).decode()
    version = int(digits[:-2]), int(digits[-2:])
    block = _block(found)
    left = _FAR
    while left > 0:
        code, size = block(file)
        if code == b"REND":
            order = ">" if found["order"] == b"V" else "<"
            first, last = struct.unpack(f"{order}ii", file.read(8))
            return Header(version=version, compressed=compressed, first=first, last=last)
        if code == b"ENDB" or size < 0:
            break
        left -= size
        _skip(file, size)
    return Header(version=version, compressed=compressed)


def _block(header: re.Match[bytes]) -> _Block:
    """What reads a file-block header: its code, and the bytes that follow it."""
    if header["large"]:
        return _Block(struct.Struct("<4siQqq"), 3)
    order, pointer = (">" if header["order"] == b"V" else "<"), ("Q" if header["pointer"] == b"-" else "I")
    return _Block(struct.Struct(f"{order}4si{pointer}ii"), 1)


@dataclass(frozen=True)
class _Block:
    layout: struct.Struct
    place_of_size: int

    def __call__(self, file: BinaryIO) -> tuple[bytes, int]:
        fields = self.layout.unpack(file.read(self.layout.size))
        return fields[0], fields[self.place_of_size]


def _skip(file: BinaryIO, size: int) -> None:
    while size > 0:
        step = len(file.read(min(size, 2**20)))
        if not step:
            raise EOFError
        size -= step
