"""A small file system of its own for a process's data, which can be filled."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

_FILLING = ".filling"
_STEP = 2**20


class Disk:
    """A tmpfs of `size` bytes at `folder`, mounted until `close`. Needs root. Raises OSError, CalledProcessError."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "distren-trial", str(folder)]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    def fill(self) -> None:
        """Leave not one byte."""
        with suppress(OSError), (self.folder / _FILLING).open("ab", buffering=0) as file:
            step = _STEP
            while step:
                try:
                    file.write(bytes(step))
                except OSError:
                    step //= 2

    def free(self) -> None:
        """Give the room back."""
        (self.folder / _FILLING).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount; at once, even where a process that dies still has a file open."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)


def possible() -> bool:
    """Whether this process may mount file systems."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory(prefix="distren-disk-") as folder:
        try:
            Disk(Path(folder) / "try", 2**16).close()
        except (OSError, subprocess.CalledProcessError):
            return False
    return True
