"""A worker's name, which no two workers on one broker share, and the lock that holds it on this host."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from distren.errors import Conflict, OutputError, SettingsError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,78}[a-z0-9])?", re.ASCII | re.IGNORECASE)
_TRIES, _WAIT = 50, 0.02
"""looks at the lock of a name, and seconds between them"""


@dataclass
class Identity:
    """A claimed name; the claim ends with `release`, or with the process."""

    name: str
    number: int
    _lock: int

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def host() -> str:
    """This machine's name, as it stands in worker names and reports."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("._-")[:60] or "host"


def claim(locks: Path, name: str | None, *, above: int = 0) -> Identity:
    """Claim `name`, or where it is None `<host>-<n>` with the lowest free n above `above`.

    `locks` is the folder of the lock files, one for this host. Raises SettingsError for a name that can not be one,
    Conflict for one that a worker on this host has, and OutputError where the folder can not be written.
    """
    if name is not None:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"'{name}' is no worker name: use letters, digits, '.', '_' and '-', at most 80 characters"
            )
        lock = _lock_patiently(_lock_file(locks, name))
        if lock is None:
            raise Conflict(f"a worker called '{name}' is running on this machine already: choose another --name")
        return Identity(name, 0, lock)
    for number in itertools.count(above + 1):
        found = f"{host()}-{number}"
        lock = try_lock(_lock_file(locks, found))
        if lock is not None:
            return Identity(found, number, lock)
    raise AssertionError("unreachable")


def _lock_patiently(path: Path) -> int | None:
    """As `try_lock`, but not put off by a worker that cleans up after one that was killed (scratch.clean)."""
    for _ in range(_TRIES):
        lock = try_lock(path)
        if lock is not None:
            return lock
        time.sleep(_WAIT)
    return None


def try_lock(path: Path) -> int | None:
    """The file descriptor of `path`, locked for us alone until it is closed; None where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _lock_file(locks: Path, name: str) -> Path:
    try:
        locks.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{locks} can not be made: {error.strerror}") from error
    return locks / f"{name}.lock"
