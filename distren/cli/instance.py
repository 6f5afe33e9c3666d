"""The mark of a running `distren up` on its data folder: one at a time, and how to find it."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from distren.errors import Conflict, NoAnswer, NotFound, OutputError

_FILE = "up.lock"
_POLL = 0.05
"""seconds; flock(2) has no way to wait with a limit"""


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """Hold the data folder. Raises Conflict where another process does, OutputError where it can not be written."""
    with _opened(data) as file:
        if not _lock(file):
            raise Conflict(f"already running (pid {_pid(file)}) on {data}: 'distren down' ends it")
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def end(data: Path, *, limit: float) -> int:
    """Tell the process that holds the data folder to end, and wait until it has; returns its pid.

    Raises NotFound where none does, NoAnswer where it takes longer than `limit` seconds.
    """
    if not (data / _FILE).exists():
        raise NotFound(f"nothing runs on {data}: 'distren up' starts it")
    with _opened(data) as file:
        if _lock(file):
            raise NotFound(f"nothing runs on {data}: 'distren up' starts it")
        deadline = time.monotonic() + limit
        pid, told = 0, False
        while not _lock(file):
            if not told and (pid := _pid(file)):
                with suppress(ProcessLookupError):  # it is about to end, or its successor has not said yet who it is
                    os.kill(pid, signal.SIGTERM)
                    told = True
            if time.monotonic() > deadline:
                raise NoAnswer(f"the process {pid} has not ended within {limit:.0f} s")
            time.sleep(_POLL)
    return pid


def _opened(data: Path) -> IO[str]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        return (data / _FILE).open("a+")
    except OSError as error:
        raise OutputError(f"the data folder {data} can not be written: {error.strerror}") from error


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(file: IO[str]) -> int:
    """Who holds the file; 0 where it is about to say so."""
    file.seek(0)
    text = file.read().strip()
    return int(text) if text.isdigit() else 0
