"""Finds a stopped process that holds an SQLite database's write lock: nobody can write before it goes on, or ends."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import psutil

_WRITE_LOCK = 120
"""Of a database in WAL mode: the byte of its -shm file that a writer locks (sqlite.org/walformat.html, section 2.3)"""
_LINE = re.compile(r"^\d+: POSIX +\w+ +WRITE (\d+) \S+:(\d+) (\d+) (\d+)$", re.MULTILINE)
"""of /proc/locks: process, inode, first and last byte"""


def holder(database: Path) -> psutil.Process | None:
    """The stopped process of this machine that is in the middle of a change of `database`; None where there is none."""
    memory = database.with_name(f"{database.name}-shm")
    with suppress(OSError, psutil.Error):
        inode = memory.stat().st_ino
        for pid, held, first, last in _LINE.findall(Path("/proc/locks").read_text("ascii")):
            if int(held) == inode and int(first) <= _WRITE_LOCK <= int(last) and int(pid) > 0:
                process = psutil.Process(int(pid))
                has_it = any(Path(file.path) == memory.resolve() for file in process.open_files())
                if has_it and process.status() == psutil.STATUS_STOPPED:
                    return process
    return None
