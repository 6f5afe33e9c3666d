"""The files of a folder on the user's disk, as the files of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distren.errors import SceneError
from distren.tarballs.limits import DEFAULT_LIMITS


def gather(folder: Path, *, hidden: bool = False) -> dict[str, Path]:
    """Every file in and below `folder` by its path in the seed, in order; those whose path has a part that begins
    with '.' only where `hidden` is set.

    A link to a file inside the folder counts as that file. Raises SceneError for a link that leads out of it, to a
    folder or to nothing, for what is neither file nor folder, and for what can not be read.
    """
    files: dict[str, Path] = {}
    root = folder.resolve()
    try:
        for path in _walk(folder, hidden):
            _check(path, root)
            files[path.relative_to(folder).as_posix()] = path
            if len(files) > DEFAULT_LIMITS.members:
                raise SceneError(
                    f"'{folder}' holds more than {DEFAULT_LIMITS.members} files: give a folder that holds the job only"
                )
    except OSError as error:
        raise SceneError(f"'{error.filename}' can not be read: {error.strerror}") from error
    return files


def _walk(folder: Path, hidden: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not hidden and path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, hidden)
        else:
            yield path


def _check(path: Path, root: Path) -> None:
    if path.is_symlink():
        real = path.resolve()
        if not real.exists():
            raise SceneError(f"'{path}' is a link to nothing: repair or delete it")
        if not real.is_relative_to(root):
            raise SceneError(f"'{path}' is a link out of the folder, to '{real}': put a copy in its place")
    if path.is_dir():
        raise SceneError(f"'{path}' is a link to a folder: put the folder itself in its place")
    if not path.is_file():
        raise SceneError(f"'{path}' is neither a file nor a folder: take it out")
