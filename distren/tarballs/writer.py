"""Writes plain tarballs: the same bytes for the same members in the same order."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from distren.errors import TarballError
from distren.tarballs.headers import BLOCK, END, header_blocks
from distren.tarballs.paths import PathError, PathSet, shown

_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file to write: its path in the tarball ('/' between the parts), and where its bytes are."""

    path: str
    source: Path | bytes


def write_tarball(target: BinaryIO, members: Iterable[Member]) -> None:
    """Write `members` in the order given; owner, group and time are 0, the mode is 0644.

    Raises TarballError for a path that the strict reader would refuse, for a source that is no regular file (links
    are not followed: a render's output may be hostile) and for one that changes its size meanwhile. Errors of
    `target` are left as they are (OSError).
    """
    paths = PathSet()
    for member in members:
        try:
            paths.add_file(member.path)
        except PathError as error:
            raise TarballError(f"{error}") from error
        if isinstance(member.source, bytes):
            target.write(header_blocks(member.path, len(member.source)))
            target.write(member.source)
            target.write(bytes(-len(member.source) % BLOCK))
        else:
            _write_file(target, member.path, member.source)
    target.write(END * 2)


def _write_file(target: BinaryIO, path: str, source: Path) -> None:
    with _opened(source) as file:
        size = os.fstat(file.fileno()).st_size
        target.write(header_blocks(path, size))
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK))
            if not chunk:
                break
            target.write(chunk)
            left -= len(chunk)
        if left or file.read(1):
            raise TarballError(f"{shown(str(source))} changed while it was packed: pack it when nothing writes to it")
    target.write(bytes(-size % BLOCK))


def _opened(source: Path) -> BinaryIO:
    """The file, if it is a regular one; O_NONBLOCK so that a FIFO in its place does not hold us up."""
    try:
        number = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = "it is a link" if source.is_symlink() else error.strerror
        raise TarballError(f"{shown(str(source))} can not be packed: {why}") from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise TarballError(f"{shown(str(source))} can not be packed: it is no regular file")
    return os.fdopen(number, "rb")
