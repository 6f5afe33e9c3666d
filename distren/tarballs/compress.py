"""Compresses tarballs as their names ask for; the same bytes for the same content."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""names that ask for a tarball, by how they end"""


@contextmanager
def compressed(path: Path, name: str) -> Iterator[BinaryIO]:
    """A stream into the new file `path`, compressed as the end of `name` says; plain where it says nothing."""
    name = name.lower()
    with path.open("wb") as file:
        layer: IO[bytes] | None = None
        if name.endswith((".gz", ".tgz")):
            layer = cast("IO[bytes]", gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))
        elif name.endswith(".bz2"):
            layer = cast("IO[bytes]", bz2.BZ2File(file, "wb"))
        elif name.endswith(".xz"):
            layer = cast("IO[bytes]", lzma.LZMAFile(file, "wb"))  # noqa: SIM115
        elif name.endswith(".zst"):
            layer = cast("IO[bytes]", zstandard.ZstdCompressor().stream_writer(file, closefd=False))
        yield cast("BinaryIO", layer or file)
        if layer is not None:
            layer.close()
