"""The folder beside a fetch's target that holds what has arrived, so that a fetch that broke off can be continued.

.distren-fetch[-<bundle>]/lock     held (flock) by the fetch that uses the folder
.distren-fetch[-<bundle>]/blobs/   results that have arrived, whole or in part
.distren-fetch[-<bundle>]/laid     one line for each frame whose files lie in the target
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from distren.errors import BrokerUnavailable, NoAnswer, TransferError

NAME = ".distren-fetch"
Laid = list[tuple[str, int, str]]
"""the files of a frame: path below the target, bytes, SHA-256"""
_WORTH_KEEPING = (TransferError, NoAnswer, BrokerUnavailable, KeyboardInterrupt)


@contextmanager
def scratch(folder: Path, name: str = "") -> Iterator[Path]:
    """A folder of our own in `folder`, on the same file system, so that a rename is all it takes.

    It is the one that an earlier fetch of `name` has left, unless that one still runs; it goes away at the end, and
    stays where the transfer broke off.
    """
    place = folder / (f"{NAME}-{name}" if name else NAME)
    lock = _claimed(place)
    if lock is None:
        place = Path(tempfile.mkdtemp(prefix=f"{NAME}-", dir=folder))
    keep = False
    try:
        yield place
    except _WORTH_KEEPING:
        keep = lock is not None and _holds_anything(place)
        raise
    finally:
        if not keep:
            _remove(place)
        if lock is not None:
            lock.close()


def _claimed(place: Path) -> _Lock | None:
    """The lock of the folder, which is made where it is missing; None while another fetch holds it."""
    while True:
        with suppress(FileExistsError):  # not exist_ok: it may be removed before that looks what it is
            place.mkdir()
        try:
            lock = _Lock(place / "lock")
        except BlockingIOError:
            return None
        except FileNotFoundError:  # the fetch that used it has just ended and removed it
            continue
        if lock.is_current():
            return lock
        lock.close()


def _remove(place: Path) -> None:
    """Remove the folder of a fetch that is through with it; the next one may begin in its place meanwhile."""
    gone = place
    with suppress(OSError):
        gone = place.rename(place.with_name(f"{NAME}-{secrets.token_hex(4)}"))
    shutil.rmtree(gone, ignore_errors=True)


class _Lock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise

    def is_current(self) -> bool:
        """Whether the file that is locked is still the one that others would lock."""
        try:
            return self._path.stat().st_ino == self._inode()
        except FileNotFoundError:
            return False

    def _inode(self) -> int:
        return Path(f"/proc/self/fd/{self._file.fileno()}").stat().st_ino

    def close(self) -> None:
        self._file.close()


def _holds_anything(place: Path) -> bool:
    files = [path for path in place.rglob("*") if path.is_file() and path.name not in ("lock", "boot")]
    return any(path.stat().st_size for path in files)


class Journal:
    """Which frames' files lie in the target already. `key` names a frame's result and how it is laid down."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target
        self._known: dict[str, Laid] = {}
        with suppress(FileNotFoundError):
            for line in path.read_text("utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the last line of a fetch that was killed
                    entry = json.loads(line)
                    self._known[entry["key"]] = [(str(name), int(size), str(sha)) for name, size, sha in entry["files"]]

    def files(self, key: str) -> Laid | None:
        """The files of a frame, if all of them lie in the target as they were laid."""
        laid = self._known.get(key)
        if laid is None or not all(self._is_whole(*one) for one in laid):
            return None
        return laid

    def add(self, key: str, laid: Laid) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "files": laid}) + "\n")

    def _is_whole(self, name: str, size: int, digest: str) -> bool:
        path = self._target / name
        try:
            if path.is_symlink() or path.stat().st_size != size:
                return False
            return sha256(path) == digest
        except OSError:
            return False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
