"""The folders that attempts write to: one for each attempt, below one for each worker.

A folder that is as new when it has been emptied is used again: to remove folders and make others takes as long as all
else that a worker does for a short frame (ext4 looks through all inodes that it has freed in the last five seconds).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import struct
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from distren.errors import OutputError
from distren.worker.identity import try_lock

log = logging.getLogger(__name__)

_WRITTEN = ("output", "tmp")
"""the folders in an attempt's folder"""
_GONE = ".gone-"
"""begins the name of a folder that is being removed; no worker is called so"""
_GET_FLAGS, _FLAGS = 0x80086601, struct.Struct("l")
"""linux/fs.h, FS_IOC_GETFLAGS: what chattr(1) sets"""


class Scratch:
    """A worker's folder for its attempts."""

    def __init__(self, attempts: Path, worker: str) -> None:
        self._folder = attempts / worker
        self._spare: list[Path] = []
        self._new: Any = None
        """how the folders are that have just been made"""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._folder} can not be made: {error.strerror}") from error

    def make(self, token: str) -> Path:
        """A new folder for the attempt `token`, with empty folders `output` and `tmp` in it; raises OSError."""
        folder = self._folder / token
        while self._spare:
            with suppress(OSError, IndexError):
                self._spare.pop().rename(folder)
                return folder
        folder.mkdir()
        for name in _WRITTEN:
            (folder / name).mkdir()
        self._new = self._new or _emptied(folder)
        return folder

    def remove(self, token: str) -> None:
        """Remove the attempt's folder, whatever the renderer left in it."""
        folder = self._folder / token
        if self._new is not None and _emptied(folder) == self._new:
            self._spare.append(folder)
        else:
            remove_tree(folder)

    def remove_all(self) -> None:
        remove_tree(self._folder)


def _emptied(folder: Path) -> list[tuple[Any, ...]] | None:
    """Remove the files of an attempt; how its folders are then, None where one is missing or there are others."""
    try:
        return [_empty(folder, but=_WRITTEN), *(_empty(folder / name) for name in _WRITTEN)]
    except OSError:
        return None


def _empty(folder: Path, *, but: Collection[str] = ()) -> tuple[Any, ...]:
    """Remove the files in a folder; all that a program may have changed of the folder itself.

    Raises OSError where it is none, or a link, and where there are folders in it.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in os.listdir(number):  # noqa: PTH208  of what is open, not of what has its name by now
            if name not in but:
                os.unlink(name, dir_fd=number)
        status, flags = os.fstat(number), bytes(_FLAGS.size)
        with suppress(OSError):  # the file system has none
            flags = fcntl.ioctl(number, _GET_FLAGS, flags)
        return status.st_mode, status.st_uid, status.st_gid, status.st_size, os.listxattr(number), flags
    finally:
        os.close(number)


def clean(attempts: Path, locks: Path) -> None:
    """Remove the folders of workers that are gone: those whose name nobody holds.

    A name is held here for a moment only: its next worker may start meanwhile, and others may clean as well.
    """
    for folder in list(attempts.iterdir()) if attempts.is_dir() else []:
        if folder.name.startswith(_GONE):
            remove_tree(folder)
            continue
        lock = try_lock(locks / f"{folder.name}.lock")
        if lock is not None:
            log.info("removing what a worker that was killed left behind: %s", folder.name)
            gone = folder
            with suppress(OSError):
                gone = folder.rename(folder.with_name(f"{_GONE}{uuid.uuid4().hex}"))
            os.close(lock)
            remove_tree(gone)


def remove_tree(folder: Path) -> None:
    """Remove a folder, also one with folders that may not be written; what can not be removed is logged."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for parent, names, _ in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                with suppress(OSError):  # somebody else removes it as well
                    if not path.is_symlink():
                        path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            log.warning("%s can not be removed: remove it by hand", folder)
