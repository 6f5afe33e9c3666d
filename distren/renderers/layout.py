"""Where the files that a scene names lie on the user's disk, and which folder becomes the root of the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path


def common(folders: Iterable[Path]) -> Path:
    """The deepest folder that all of them lie in."""
    found: tuple[str, ...] | None = None
    for folder in folders:
        found = folder.parts if found is None else tuple(_agreeing(found, folder.parts))
    return Path(*(found or ("/",)))


def lexical(path: Path) -> Path:
    """`path` without '..' and '.'; links are left alone, since the seed holds what they lead to under their names."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != "..":
            parts.append(part)
    return Path(*parts)


def _agreeing(one: tuple[str, ...], other: tuple[str, ...]) -> Iterator[str]:
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            return
        yield mine
