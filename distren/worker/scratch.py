"""The folders that attempts write to: one for each attempt, below one for each worker."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from distren.errors import OutputError
from distren.worker.identity import try_lock

log = logging.getLogger(__name__)


class Scratch:
    """A worker's folder for its attempts."""

    def __init__(self, attempts: Path, worker: str) -> None:
        self._folder = attempts / worker
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self._folder} can not be made: {error.strerror}") from error

    def make(self, token: str) -> Path:
        """A new folder for the attempt `token`, with empty folders `output` and `tmp` in it; raises OSError."""
        folder = self._folder / token
        folder.mkdir()
        (folder / "output").mkdir()
        (folder / "tmp").mkdir()
        return folder

    def remove(self, token: str) -> None:
        """Remove the attempt's folder, whatever the renderer left in it."""
        remove_tree(self._folder / token)

    def remove_all(self) -> None:
        remove_tree(self._folder)


def clean(attempts: Path, locks: Path) -> None:
    """Remove the folders of workers that are gone: those whose name nobody holds."""
    for folder in list(attempts.iterdir()) if attempts.is_dir() else []:
        lock = try_lock(locks / f"{folder.name}.lock")
        if lock is not None:
            log.info("removing what a worker that was killed left behind: %s", folder.name)
            remove_tree(folder)
            os.close(lock)


def remove_tree(folder: Path) -> None:
    """Remove a folder, also one with folders that may not be written; what can not be removed is logged."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for parent, names, _ in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            log.warning("%s can not be removed: remove it by hand", folder)
