"""Lays the results of frames into a folder, or into one tarball, so that every file appears complete or not at all."""

from __future__ import annotations

import bz2
import filecmp
import gzip
import lzma
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

from distren.client.results import Results
from distren.errors import OutputError
from distren.tarballs.reader import Entry, read_tarball
from distren.tarballs.writer import Member, write_tarball
from distren.wire.jobs import FrameInfo

_SCRATCH = ".distren-fetch-"
_IN_MEMORY = 16 * 2**20
"""bytes; a larger file on its way into a bundle is laid on the disk first"""
BUNDLES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_STEP = 2**20
OnFrame = Callable[[FrameInfo], None]


@dataclass(kw_only=True)
class Fetched:
    """What was brought to `target`: the files of each frame, in frame order (paths below the target)."""

    target: Path
    files: dict[int, list[Path]] = field(default_factory=dict)
    bytes: int = 0

    def add(self, frame: FrameInfo, place: str, size: int) -> None:
        self.files[frame.frame].append(Path(place))
        self.bytes += size


def is_bundle(target: Path) -> bool:
    """Whether the name asks for one tarball rather than a folder."""
    return target.name.lower().endswith(BUNDLES) and not target.is_dir()


def check_writable(target: Path) -> None:
    """Raise OutputError unless `target` could be made here; leaves nothing behind."""
    if target.exists() and is_bundle(target) and not target.is_file():
        raise OutputError(f"{target} is no file that can be replaced: give another name")
    folder = target.parent if is_bundle(target) else target
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{target} can not be written: {folder} is no folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(target, error) from error


def fetch(
    results: Results, frames: Sequence[FrameInfo], target: Path, *, by_frame: bool, on_frame: OnFrame | None
) -> Fetched:
    """Bring `frames` (done ones, in order) to `target`. Raises OutputError and what `Results.brought` raises."""
    check_writable(target)
    into = _into_bundle if is_bundle(target) else _into_folder
    try:
        return into(results, frames, target, by_frame, on_frame or (lambda _: None))
    except OSError as error:
        raise _unwritable(target, error) from error


class _Names:
    """Which frame each path came from: two frames may not both produce a path, with different bytes."""

    def __init__(self, by_frame: bool) -> None:
        self._by_frame = by_frame
        self._owners: dict[str, FrameInfo] = {}

    def place(self, frame: FrameInfo, path: str) -> tuple[str, bool]:
        """Where a file of `frame` belongs; False where an equal result has put it there already."""
        if self._by_frame:
            return f"frame-{frame.frame}/{path}", True
        owner = self._owners.setdefault(path, frame)
        if owner is frame or owner.result == frame.result:
            return path, owner is frame
        raise OutputError(
            f"frames {owner.frame} and {frame.frame} both hold a file '{path}': "
            "fetch with --by-frame, which gives each frame a folder"
        )


def _into_folder(
    results: Results, frames: Sequence[FrameInfo], target: Path, by_frame: bool, on_frame: OnFrame
) -> Fetched:
    fetched, names = Fetched(target=target), _Names(by_frame)
    target.mkdir(parents=True, exist_ok=True)
    with _scratch(target) as scratch:
        for frame, tarball in results.brought(frames, scratch / "blobs"):
            fetched.files[frame.frame] = []
            for path, size, source in _spilled(tarball, scratch):
                place, fresh = names.place(frame, path)
                fetched.add(frame, place, size)
                if fresh:
                    _lay(source, target / place)
            on_frame(frame)
    return fetched


def _spilled(tarball: Path, scratch: Path) -> list[tuple[str, int, Path]]:
    """The files of a frame tarball as path, size and a file in `scratch`, once the whole tarball is found good."""
    spilled = []
    for number, entry in enumerate(read_tarball(tarball)):
        source = scratch / f"file-{number}"
        with entry.open() as stream, source.open("wb") as file:
            shutil.copyfileobj(stream, file, _STEP)
        spilled.append((entry.path, entry.size, source))
    return spilled


def _lay(source: Path, place: Path) -> None:
    """Move a file to its place, unless the same bytes are there."""
    if place.is_file() and not place.is_symlink() and filecmp.cmp(source, place, shallow=False):
        return
    if place.is_dir():
        raise OutputError(f"{place} is a folder, where a frame's file belongs: fetch into another folder")
    place.parent.mkdir(parents=True, exist_ok=True)
    source.replace(place)


def _into_bundle(
    results: Results, frames: Sequence[FrameInfo], target: Path, by_frame: bool, on_frame: OnFrame
) -> Fetched:
    fetched, names = Fetched(target=target), _Names(by_frame)

    def members(scratch: Path) -> Iterator[Member]:
        for frame, tarball in results.brought(frames, scratch / "blobs"):
            fetched.files[frame.frame] = []
            for entry in read_tarball(tarball):
                place, fresh = names.place(frame, entry.path)
                fetched.add(frame, place, entry.size)
                if fresh:
                    yield Member(path=place, source=_source(entry, scratch / "member"))
            on_frame(frame)

    target.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(target.parent) as scratch:
        finished = scratch / "bundle"
        with _compressed(finished, target.name.lower()) as stream:
            write_tarball(stream, members(scratch))
        finished.replace(target)
    return fetched


def _source(entry: Entry, spill: Path) -> Path | bytes:
    with entry.open() as stream:
        if entry.size <= _IN_MEMORY:
            return stream.read()
        with spill.open("wb") as file:
            shutil.copyfileobj(stream, file, _STEP)
    return spill


@contextmanager
def _compressed(path: Path, name: str) -> Iterator[BinaryIO]:
    """A stream into `path` that compresses as the bundle's `name` says, the same bytes for the same content."""
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


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder of our own beside the target, on the same file system, so that a rename is all it takes."""
    made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target} can not be written: {error.strerror or error}")
