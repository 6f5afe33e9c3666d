"""Where the files of a .blend go in a seed: pure rules over what Blender has found.

Files that lie in the .blend's folder, or near it, keep their places. Others go to `external/`, and the .blend files
that name them by an absolute path, or by one that leads elsewhere, are copied with other paths in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

ELSEWHERE = "external"
"""the folder of a seed for files that lie far from the .blend"""
_HIGH = 2
"""parts of a path; a folder with so few, / and /home, is nothing that a job would consist of"""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a .blend names: see workers/blender/external.py."""

    owner: str
    raw: str
    path: Path
    folder: bool
    needed: bool
    files: tuple[Path, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reference:
        return cls(
            owner=str(record["owner"]),
            raw=str(record["raw"]),
            path=Path(record["path"]),
            folder=bool(record["folder"]),
            needed=bool(record["needed"]),
            files=tuple(Path(file) for file in record["files"]),
        )

    @property
    def is_missing(self) -> bool:
        return self.needed and not self.files

    @property
    def is_relative(self) -> bool:
        return self.raw.startswith("//")


@dataclass(frozen=True, kw_only=True)
class BlendFile:
    path: Path
    references: tuple[Reference, ...]


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """A .blend to copy, and the new path for each owner and path in it."""

    blend: Path
    paths: Mapping[tuple[str, str], str]


@dataclass(frozen=True, kw_only=True)
class Packing:
    """`root` is the folder that becomes the seed's root, `files` where each file of this disk goes below it."""

    root: Path
    files: Mapping[Path, PurePosixPath]
    rewrites: tuple[Rewrite, ...] = ()
    missing: tuple[str, ...] = field(default=())


def plan(blends: Sequence[BlendFile], home: Path) -> Packing:
    """How to pack the first of `blends`, which links the others. `home` is the user's: it is nobody's root."""
    places = _Places(_root(blends, home))
    for blend in blends:
        places.add(blend.path, blend.path.parent)
        for one in blend.references:
            source = one.path if one.folder else one.path.parent
            for file in one.files:
                places.add(file, source)
    rewrites = (Rewrite(blend=blend.path, paths=dict(_changes(blend, places))) for blend in blends)
    return Packing(
        root=places.root,
        files=places.files,
        rewrites=tuple(one for one in rewrites if one.paths),
        missing=tuple(_missing(blends)),
    )


def _root(blends: Sequence[BlendFile], home: Path) -> Path:
    """The deepest folder that holds the first .blend and all that is named relative to it, if that is not far up."""
    root = blends[0].path.parent
    for blend in blends:
        if blend.path.is_relative_to(root):
            for one in blend.references:
                if one.is_relative and one.files:
                    common = Path(os.path.commonpath((root, one.path if one.folder else one.path.parent)))
                    root = root if _is_high(common, home) else common
    return root


def _is_high(folder: Path, home: Path) -> bool:
    return len(folder.parts) <= _HIGH or folder == home or folder in home.parents


class _Places:
    """Gives each file its place; files of one folder elsewhere stay together."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[Path, PurePosixPath] = {}
        self._folders: dict[Path, PurePosixPath] = {}

    def add(self, file: Path, source: Path) -> None:
        self.files.setdefault(file, self.of(file, source))

    def of(self, path: Path, source: Path) -> PurePosixPath:
        """The place of `path`, a file or a pattern of files in the folder `source`, or that folder itself."""
        if path.is_relative_to(self.root):
            return PurePosixPath(path.relative_to(self.root).as_posix())
        number = len(self._folders) + 1
        place = self._folders.setdefault(source, PurePosixPath(ELSEWHERE, str(number)))
        return place / path.relative_to(source).as_posix()


def _changes(blend: BlendFile, places: _Places) -> Iterator[tuple[tuple[str, str], str]]:
    """What has to be written instead of the paths in `blend`, so that they lead to the files' places in a seed."""
    here = places.files[blend.path].parent
    for one in blend.references:
        if not one.files:
            continue
        there = places.of(one.path, one.path if one.folder else one.path.parent)
        new = "//" + os.path.relpath(there, here)
        if not one.is_relative or os.path.normpath(one.raw[2:]) != os.path.normpath(new[2:]):
            yield (one.owner, one.raw), new


def _missing(blends: Iterable[BlendFile]) -> Iterator[str]:
    first = True
    for blend in blends:
        for one in blend.references:
            if one.is_missing:
                yield f"{one.owner}: {one.raw}" + ("" if first else f" (in {blend.path.name})")
        first = False
