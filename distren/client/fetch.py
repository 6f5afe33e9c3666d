"""Lays the results of frames into a folder, or into one tarball, so that every file appears complete or not at all."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distren.client.results import Results
from distren.client.scratch import Journal, Laid, scratch, sha256
from distren.errors import OutputError
from distren.tarballs.compress import ENDINGS, compressed
from distren.tarballs.reader import Entry, read_tarball
from distren.tarballs.writer import Member, write_tarball
from distren.wire.jobs import FileInfo, FrameInfo

_IN_MEMORY = 16 * 2**20
"""bytes; a larger file on its way into a bundle is laid on the disk first"""
BUNDLES = ENDINGS
_STEP = 2**20
OnFrame = Callable[[FrameInfo], None]


@dataclass(kw_only=True)
class Fetched:
    """What was brought to `target`: the files of each frame, in frame order (paths below the target).

    `bytes` is the size of the files, `received` how many bytes had to travel: what an earlier fetch that was broken
    off has left does not travel again.
    """

    target: Path
    files: dict[int, list[Path]] = field(default_factory=dict)
    bytes: int = 0
    received: int = 0

    def count(self, received: int) -> None:
        self.received += received

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
    """Bring `frames` (done ones, in order) to `target`. Raises OutputError and what `Results.brought` raises.

    A fetch that broke off, or was killed, goes on where it was when it is called again.
    """
    check_writable(target)
    frames = [frame for frame in frames if frame.result is not None]
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
        return path, self.claim(frame, path)

    def claim(self, frame: FrameInfo, path: str) -> bool:
        """Take `path` for `frame`; False where an equal result has it already. Raises OutputError for another one."""
        owner = self._owners.setdefault(path, frame)
        if owner is frame or owner.result == frame.result:
            return owner is frame
        raise OutputError(
            f"frames {owner.frame} and {frame.frame} both hold a file '{path}': "
            "fetch with --by-frame, which gives each frame a folder"
        )


def place_of_file(file: FileInfo, target: Path) -> Path:
    """Where a file of a job goes that is fetched to `target`, which may be a folder. Raises OutputError."""
    if target.is_dir():
        target = target / Path(file.path).name
    if target.is_dir():
        raise OutputError(f"{target} is a folder, where the file belongs: give it another name")
    check_writable(target.parent)
    return target


def fetch_file(results: Results, file: FileInfo, target: Path) -> Fetched:
    """Bring one file of a job, a blob, to `target`, or into the folder that `target` is. Raises as `fetch` does."""
    assert file.blob is not None
    target = place_of_file(file, target)
    fetched = Fetched(target=target, bytes=file.blob.size)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent, target.name) as folder:
            path = results.one(file.blob.value(), folder / "blobs", on_bytes=fetched.count)
            path.chmod(0o644)
            path.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    return fetched


def write_file(data: bytes, target: Path) -> Fetched:
    """Write bytes that are here already; the file appears complete or not at all. Raises OutputError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch(target.parent, target.name) as folder:
            path = folder / "file"
            path.write_bytes(data)
            path.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    return Fetched(target=target, bytes=len(data), received=len(data))


def _into_folder(
    results: Results, frames: Sequence[FrameInfo], target: Path, by_frame: bool, on_frame: OnFrame
) -> Fetched:
    fetched, names = Fetched(target=target), _Names(by_frame)
    target.mkdir(parents=True, exist_ok=True)
    with scratch(target) as folder:
        journal = Journal(folder / "laid", target)
        there = {frame.frame: journal.files(_key(frame, by_frame)) for frame in frames}
        missing = [frame for frame in frames if there[frame.frame] is None]
        brought = results.brought(missing, folder / "blobs", on_bytes=fetched.count)
        for frame in frames:
            fetched.files[frame.frame] = []
            if (laid := there[frame.frame]) is None:
                _, tarball = next(brought)
                laid = _laid(frame, tarball, folder, target, names)
                journal.add(_key(frame, by_frame), laid)
            else:
                for place, _, _ in laid:
                    names.claim(frame, place)
            for place, size, _ in laid:
                fetched.add(frame, place, size)
            on_frame(frame)
        next(brought, None)
    return fetched


def _key(frame: FrameInfo, by_frame: bool) -> str:
    assert frame.result is not None
    return f"{frame.frame} {frame.result.digest}{' by frame' if by_frame else ''}"


def _laid(frame: FrameInfo, tarball: Path, folder: Path, target: Path, names: _Names) -> Laid:
    """Lay a frame's files down; where they are."""
    laid = []
    for path, size, source in _spilled(tarball, folder):
        place, fresh = names.place(frame, path)
        laid.append((place, size, sha256(source)))
        if fresh:
            _lay(source, target / place)
    return laid


def _spilled(tarball: Path, folder: Path) -> list[tuple[str, int, Path]]:
    """The files of a frame tarball as path, size and a file in `folder`, once the whole tarball is found good."""
    spilled = []
    for number, entry in enumerate(read_tarball(tarball)):
        source = folder / f"file-{number}"
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

    def members(folder: Path) -> Iterator[Member]:
        for frame, tarball in results.brought(frames, folder / "blobs", keep=True, on_bytes=fetched.count):
            fetched.files[frame.frame] = []
            for entry in read_tarball(tarball):
                place, fresh = names.place(frame, entry.path)
                fetched.add(frame, place, entry.size)
                if fresh:
                    yield Member(path=place, source=_source(entry, folder / "member"))
            on_frame(frame)

    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch(target.parent, target.name) as folder:
        finished = folder / "bundle"
        with compressed(finished, target.name) as stream:
            write_tarball(stream, members(folder))
        finished.replace(target)
    return fetched


def _source(entry: Entry, spill: Path) -> Path | bytes:
    with entry.open() as stream:
        if entry.size <= _IN_MEMORY:
            return stream.read()
        with spill.open("wb") as file:
            shutil.copyfileobj(stream, file, _STEP)
    return spill


def _unwritable(target: Path, error: OSError) -> OutputError:
    return OutputError(f"{target} can not be written: {error.strerror or error}")
