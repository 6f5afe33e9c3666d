"""The rules for paths in a seed: the same for tarballs, manifests and folders on a user's disk."""

from __future__ import annotations

import re
import unicodedata

from distren.tarballs.limits import DEFAULT_LIMITS

LONGEST_PART = 255
"""bytes between two '/'; the limit of ext4, XFS, APFS and NTFS alike"""
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class PathError(ValueError):
    """A path that breaks the rules; the message names it, in one line of printable characters."""


def shown(path: str) -> str:
    """`path` in quotes, shortened, without any character that could disturb a terminal."""
    return repr(path if len(path) <= 100 else f"{path[:60]}...{path[-30:]}")


def check_path(path: str, longest: int = DEFAULT_LIMITS.path_bytes) -> None:
    """Raise PathError unless `path` is relative, printable UTF-8, within limits, and free of '.', '..' and '\\'."""
    if not path:
        raise PathError("a path is empty: every file needs a name")
    if path.startswith("/"):
        raise PathError(f"{shown(path)} is an absolute path: paths start at the seed's root")
    if _FORBIDDEN.search(path):
        raise PathError(
            f"{shown(path)} holds a control character, a backslash or bytes that are not UTF-8: rename the file"
        )
    if len(path) > longest or len(path.encode()) > longest:
        raise PathError(f"{shown(path)} is longer than the limit of {longest} bytes")
    for part in path.split("/"):
        _check_part(part, path)


def _check_part(part: str, path: str) -> None:
    if part in ("", ".", ".."):
        raise PathError(f"{shown(path)} has a part {part!r}: write paths without '.', '..' and double '/'")
    if len(part.encode()) > LONGEST_PART:
        raise PathError(f"{shown(path)} has a part longer than {LONGEST_PART} bytes")


class PathSet:
    """Paths that can lie side by side on any file system: none twice, none that differ from another only by case."""

    def __init__(self, longest: int = DEFAULT_LIMITS.path_bytes) -> None:
        self._longest = longest
        self._folders: set[str] = set()
        self._seen: dict[str, str] = {}

    def add_file(self, path: str) -> None:
        """Take in a file and the folders above it; raises PathError where it breaks a rule or meets another path."""
        check_path(path, self._longest)
        self._add_folders(path.rpartition("/")[0])
        self._add(path)

    def add_folder(self, path: str) -> None:
        """Take in a folder, which may be named more than once; raises PathError like `add_file`."""
        check_path(path, self._longest)
        self._add_folders(path)

    def _add_folders(self, path: str) -> None:
        fresh = []
        while path and path not in self._folders:
            fresh.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(fresh):
            self._add(folder, is_folder=True)
            self._folders.add(folder)

    def _add(self, path: str, *, is_folder: bool = False) -> None:
        folded = _folded(path)
        earlier = self._seen.get(folded)
        if earlier is None:
            self._seen[folded] = path
        elif earlier != path:
            raise PathError(f"{shown(path)} differs from {shown(earlier)} only by case: rename one of them")
        elif is_folder or path in self._folders:
            raise PathError(f"{shown(path)} is both a file and a folder")
        else:
            raise PathError(f"{shown(path)} is there twice")


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
