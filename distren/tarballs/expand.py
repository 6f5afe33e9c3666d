"""The bytes of a tarball, decompressed as they are read, in bounded memory and up to a bounded size."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import stat
import zlib
from typing import BinaryIO, Protocol, cast

import zstandard

from distren.errors import TarballError
from distren.tarballs.limits import TarLimits

_READ = 64 * 2**10
_WINDOW = 128 * 2**20
"""bytes; the most that a decompressor may use (xz -9 needs 65 MiB, zstd --ultra -22 needs 128 MiB)"""
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
PACKED = tuple(magic for magic, _ in _MAGIC)
"""how compressed files begin"""
_DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)


class Tape:
    """What a tar reader reads from: bytes in order, a count of them, and errors that name the tarball."""

    def __init__(self, file: BinaryIO, name: str, limits: TarLimits) -> None:
        """Raises TarballError for an empty file. `file` stays open when the tape is no longer used."""
        self.name = name
        start = _start(file, self)
        self.compression = next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)
        rest = _Rejoined(start, file)
        self._size = _size(file) if self.compression is None else None
        if self._size is not None:
            file.seek(0)
            self._stream: BinaryIO = file
        elif self.compression is None:
            self._stream = cast("BinaryIO", io.BufferedReader(rest, 2**20))
        else:
            expander = _Expander(self, rest, _decompressor(self.compression, rest), limits)
            self._stream = cast("BinaryIO", io.BufferedReader(expander, 2**20))

    def fail(self, text: str) -> TarballError:
        """An error about this tarball."""
        return TarballError(f"{self.name}: {text}")

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end. Raises TarballError for damage and for a limit."""
        try:
            return self._stream.read(size)
        except _DAMAGE as error:
            what = "the file can not be read" if self.compression is None else f"its {self.compression} data is damaged"
            raise self.fail(f"{what} ({_one_line(error)}): make or copy it again") from error

    def skip(self, size: int) -> bool:
        """Go on by `size` bytes; False where the end comes first."""
        if self._size is not None:
            place = self._stream.tell() + size
            if place > self._size:
                return False
            self._stream.seek(place)
            return True
        while size > 0:
            got = len(self.read(min(size, 2**20)))
            if not got:
                return False
            size -= got
        return True


class _Rejoined(io.RawIOBase):
    """The bytes that were looked at to find out the compression, then the rest of the file; counts what was taken."""

    def __init__(self, start: bytes, file: BinaryIO) -> None:
        self._start = start
        self._file = file
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        data, self._start = self._start[: len(view)], self._start[len(view) :]
        data = data or self._file.read(len(view))
        view[: len(data)] = data
        self.taken += len(data)
        return len(data)


class _Decompressor(Protocol):
    def read(self, size: int) -> bytes:
        """At most `size` bytes; none only at the end of the compressed data."""


class _Expander(io.RawIOBase):
    def __init__(self, tape: Tape, source: _Rejoined, inner: _Decompressor, limits: TarLimits) -> None:
        self._tape = tape
        self._source = source
        self._inner = inner
        self._limits = limits
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        data = self._inner.read(len(view))
        view[: len(data)] = data
        self._given += len(data)
        self._check_ratio()
        return len(data)

    def _check_ratio(self) -> None:
        limits = self._limits
        if self._given > max(limits.ratio_free_bytes, limits.ratio * self._source.taken):
            raise self._tape.fail(
                f"its content is more than {limits.ratio} times as large as the file: "
                "if that is meant, pack it without compression"
            )


class _Streams:
    """gzip, bzip2 and xz: one compressed stream after the other, each with its own end mark and checksum."""

    def __init__(self, kind: str, source: io.RawIOBase) -> None:
        self._kind = kind
        self._source = source
        self._data = b""
        self._part = self._fresh()

    def _fresh(self) -> _Gzip | bz2.BZ2Decompressor | lzma.LZMADecompressor:
        if self._kind == "gzip":
            return _Gzip()
        return bz2.BZ2Decompressor() if self._kind == "bzip2" else lzma.LZMADecompressor(memlimit=_WINDOW)

    def read(self, size: int) -> bytes:
        while True:
            if self._part.eof and not self._next_stream():
                return b""
            wants = self._part.needs_input
            if wants and not self._data:
                self._data = self._source.read(_READ) or b""
            fed, self._data = self._data, b""
            if out := self._part.decompress(fed, size):
                return out
            if wants and not fed and not self._part.eof:
                raise EOFError("it ends too early")

    def _next_stream(self) -> bool:
        """Begin the stream that follows the finished one; False at the end. Zeroes after a stream are padding."""
        rest = self._part.unused_data.lstrip(b"\0")
        while not rest:
            data = self._source.read(_READ)
            if not data:
                return False
            rest = data.lstrip(b"\0")
        self._part, self._data = self._fresh(), rest
        return True


class _Gzip:
    """zlib's decompressor with the manners of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, size: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, size)


def _decompressor(kind: str, source: _Rejoined) -> _Decompressor:
    if kind == "zstd":
        # A cut-off zstd stream ends quietly here; the tar reader notices the missing end of the archive.
        context = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        reader = context.stream_reader(cast("BinaryIO", source), read_size=_READ, read_across_frames=True)
        return cast("_Decompressor", reader)
    return _Streams(kind, source)


def _size(file: BinaryIO) -> int | None:
    """The bytes of a file on the disk; None for another stream."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _start(file: BinaryIO, tape: Tape) -> bytes:
    try:
        start = file.read(6)
    except OSError as error:
        raise tape.fail(f"it can not be read: {error.strerror or error}") from error
    if not start:
        raise tape.fail("it is empty (0 bytes): make or copy it again")
    return start


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
