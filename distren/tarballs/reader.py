"""Reads tarballs that anybody may have made: regular files and folders only, each checked before its data is touched.

Python's tarfile is not used: it reads extended headers of any size into memory, takes a cut-off archive for a shorter
one, and its extraction filter has been passed by several times.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from distren.errors import OutputError, TarballError
from distren.tarballs.expand import PACKED, Tape
from distren.tarballs.headers import (
    BLOCK,
    END,
    FILE,
    FOLDER,
    GNU_NAME,
    PAX,
    PAX_GLOBAL,
    Header,
    HeaderError,
    parse_header,
    parse_pax,
    refusal,
)
from distren.tarballs.limits import DEFAULT_LIMITS, TarLimits
from distren.tarballs.paths import PathError, PathSet, shown

_COPY = 2**20
_SMALL = 8 * 2**20
"""bytes of a compressed tarball that are soon decompressed twice"""
_PADDING = 2**20
"""bytes; the most zeroes that may follow the end of an archive (tar fills up its last record)"""


class Entry:
    """A regular file in a tarball. Its bytes can be read once, and only until the next entry is asked for."""

    def __init__(self, path: str, size: int, tape: Tape) -> None:
        self.path = path
        self.size = size
        self._data = _Data(tape, path, size)

    def open(self) -> BinaryIO:
        """The file's bytes as a stream. Reading raises TarballError where they are damaged or cut off."""
        return cast("BinaryIO", io.BufferedReader(self._data, 64 * 2**10))

    def finish(self) -> None:
        """Skip what nobody has read, and the padding; the reader does this."""
        self._data.finish()


class _Data(io.RawIOBase):
    def __init__(self, tape: Tape, path: str, size: int) -> None:
        self._tape = tape
        self._path = path
        self._left = size
        self._padding = -size % BLOCK
        self._over = False

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: what is left of the data must still be skipped."""

    def readinto(self, buffer: object) -> int:
        if self._over:
            raise ValueError(f"the tarball's reader has gone past {self._path}")
        view = memoryview(cast("bytearray", buffer))
        data = self._tape.read(min(len(view), self._left))
        if not data and self._left and len(view):
            raise self._cut_off()
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def finish(self) -> None:
        self._over = True
        if not self._tape.skip(self._left + self._padding):
            raise self._cut_off()

    def _cut_off(self) -> TarballError:
        return self._tape.fail(f"it is cut off in the middle of {shown(self._path)}: make or copy it again")


def read_tarball(source: Path | BinaryIO, limits: TarLimits = DEFAULT_LIMITS) -> Iterator[Entry]:
    """The regular files of a tarball, in order; gzip, bzip2, xz and zstd are known by their first bytes.

    Folders are checked and not told of. Raises TarballError, at the latest after the last entry, for damage, for a
    missing end, for a member of another type, for an unsafe path, for a path that is there twice (also where only the
    case differs), and for anything above `limits`. Nothing that a tarball says is believed before it is checked.
    """
    with _opened(source) as (file, name):
        tape = Tape(file, name, limits)
        yield from _Walk(tape, limits).entries()


@contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    if not isinstance(source, Path):
        yield source, "the tarball"
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise TarballError(f"{source}: it can not be read: {error.strerror or error}") from error
    with file:
        yield file, str(source)


class _Walk:
    """Goes from header to header, and keeps count."""

    def __init__(self, tape: Tape, limits: TarLimits) -> None:
        self._tape = tape
        self._limits = limits
        self._paths = PathSet(limits.path_bytes)
        self._headers = 0
        self._bytes = 0

    def entries(self) -> Iterator[Entry]:
        while (header := self._member()) is not None:
            try:
                path = self._path(header)
            except (HeaderError, PathError) as error:
                raise self._bad(error) from error
            if path is not None:
                self._check_sizes(path, header.size)
                entry = Entry(path, header.size, self._tape)
                yield entry
                entry.finish()
        self._check_end()

    def _member(self) -> Header | None:
        """The next member with what extended headers say of it; None at the end of the archive."""
        path: bytes | None = None
        size: int | None = None
        extended = False
        while True:
            header = self._header()
            if header is None and extended:
                raise self._tape.fail("it ends after an extended header: make or copy it again")
            if header is None:
                return None
            try:
                if header.kind == PAX_GLOBAL:
                    parse_pax(self._extension(header), everywhere=True)
                elif header.kind not in (PAX, GNU_NAME):
                    return Header(
                        header.path if path is None else path, header.size if size is None else size, header.kind
                    )
                elif extended:
                    raise HeaderError("it has two extended headers")  # two parsers could each believe another one
                elif header.kind == PAX:
                    (path, size), extended = parse_pax(self._extension(header)), True
                else:
                    path, extended = self._extension(header).rstrip(b"\0"), True
            except HeaderError as error:
                raise self._bad(error) from error

    def _header(self) -> Header | None:
        block = self._tape.read(BLOCK)
        if len(block) < BLOCK:
            raise self._no_tarball() if not self._headers else self._cut_off()
        if block == END:
            return None
        self._headers += 1
        if self._headers > self._limits.members:
            raise self._tape.fail(f"it has more members than the limit of {self._limits.members}")
        try:
            return parse_header(block)
        except HeaderError as error:
            raise self._no_tarball() if self._headers == 1 else self._bad(error) from error

    def _extension(self, header: Header) -> bytes:
        if header.size > self._limits.header_bytes:
            raise HeaderError(
                f"its extended header has {header.size} bytes, above the limit of {self._limits.header_bytes}"
            )
        data = self._tape.read(header.size)
        if len(data) < header.size or not self._tape.skip(-header.size % BLOCK):
            raise self._cut_off()
        return data

    def _path(self, header: Header) -> str | None:
        """The path of a file, once it is checked; None for a folder."""
        if header.kind not in (FILE, FOLDER):
            raise HeaderError(f"{shown(header.path.decode('utf-8', 'replace'))}: {refusal(header.kind)}")
        try:
            path = header.path.decode()
        except UnicodeDecodeError:
            raise PathError(f"the name {header.path[:100]!r} is not in UTF-8: rename the file") from None
        while path.startswith("./"):  # as `tar -C folder .` writes them
            path = path[2:]
        if header.kind == FILE:
            self._paths.add_file(path)
            return path
        if header.size:
            raise HeaderError(f"the folder {shown(path)} has data, which no folder has")
        if path.rstrip("/") not in ("", "."):
            self._paths.add_folder(path.removesuffix("/"))
        elif path.startswith("/"):
            raise PathError("'/' is an absolute path: paths start at the seed's root")
        return None

    def _check_sizes(self, path: str, size: int) -> None:
        self._bytes += size
        if size > self._limits.member_bytes:
            raise self._tape.fail(
                f"{shown(path)} has {size} bytes, above the limit of {self._limits.member_bytes} for one file"
            )
        if self._bytes > self._limits.total_bytes:
            raise self._tape.fail(f"its files have more bytes than the limit of {self._limits.total_bytes} for all")

    def _check_end(self) -> None:
        """The second block of the end mark, and nothing but zeroes after it; so the whole file has been read."""
        if len(block := self._tape.read(BLOCK)) < BLOCK:
            raise self._cut_off()
        if block != END:
            raise self._tape.fail("it is damaged: one block of zeroes stands where two end an archive")
        rest = self._tape.read(_PADDING + 1)
        if len(rest) > _PADDING or rest.strip(b"\0"):
            raise self._tape.fail("something follows the end of the archive: pack it again as one archive")

    def _bad(self, error: ValueError) -> TarballError:
        return self._tape.fail(f"member {self._headers}: {error}")

    def _cut_off(self) -> TarballError:
        return self._tape.fail(f"it is cut off after {self._headers} members: make or copy it again")

    def _no_tarball(self) -> TarballError:
        holds = "" if self._tape.compression is None else f"{self._tape.compression} data that holds "
        return self._tape.fail(f"it is {holds}no tarball: give one made by tar, or by distren")


def unpack(source: Path | BinaryIO, folder: Path, limits: TarLimits = DEFAULT_LIMITS) -> None:
    """Lay the files of a tarball into `folder`, all of them or none.

    `folder` must be missing or empty, in a folder that exists. The files lie in a closed folder beside it until the
    whole tarball has been found good; modes, owners and times in the tarball are ignored (files are 0644 less umask).
    A tarball that is plain or small is gone through once before anything is written: to lay 100,000 files and then find
    that there are more takes long. Raises TarballError, and OutputError where the disk refuses.
    """
    if isinstance(source, Path) and _is_soon_read(source):
        for _ in read_tarball(source, limits):
            pass
    try:
        closed = Path(tempfile.mkdtemp(prefix=".distren-unpack-", dir=folder.parent))
        try:
            tree = closed / "tree"
            tree.mkdir()
            for entry in read_tarball(source, limits):
                _lay(entry, tree)
            tree.rename(folder)
        finally:
            shutil.rmtree(closed, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder} can not be written: {error.strerror or error}") from error


def _is_soon_read(path: Path) -> bool:
    with _opened(path) as (file, _):
        packed = file.read(6).startswith(PACKED)
    return not packed or path.stat().st_size <= _SMALL


def _lay(entry: Entry, tree: Path) -> None:
    target = tree / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(number, "wb") as file, entry.open() as data:
        shutil.copyfileobj(data, file, _COPY)
