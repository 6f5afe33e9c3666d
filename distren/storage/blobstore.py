"""Bytes on the disk under the name of their SHA-256; nothing has that name before its digest is verified.

    <folder>/ab/abcd...     a stored blob, read-only
    <folder>/partial/...    what has arrived of a blob that is under way; it waits there for the rest

Several processes may share a folder. Whoever receives a blob holds a lock (flock) on its partial file; whoever waits
for that lock finds the blob stored when it gets it.

A blob's time of change says when somebody last wanted it here: it was stored, offered again, or is about to be named by
a job. `remove` takes away what nobody has wanted for long; a lock on the folder keeps the two apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from distren.domain.job import Blob
from distren.errors import OutputError, TransferError

PARTIAL = "partial"
_STEP = 2**20
"""bytes read at a time"""
_LOCK_PAUSE = 0.02
"""seconds between looks at a lock that another process holds"""
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


class WrongBytes(TransferError):
    """What arrived is not what its digest names, or not of the size that was announced."""


class BlobStore:
    """The blobs below `folder`, which is made when it is missing. Any thread may call anything.

    A `durable` store has its bytes on the disk before it says that they are stored. One that is not (a cache) is
    faster, and forgets everything when the machine has been restarted since: its files may not be whole then, nor may
    what was made of them, which `forget` removes.
    Methods that write raise OutputError where the disk does not take it.
    """

    def __init__(self, folder: Path, *, durable: bool = True, forget: Callable[[], None] = lambda: None) -> None:
        self.folder, self.durable = folder, durable
        self._partials = folder / PARTIAL
        with _disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not durable:
                self._forget_after_restart(forget)
            self._partials.mkdir(exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self.folder / _checked(digest)[:2] / digest

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def size(self, digest: str) -> int | None:
        """The bytes that the blob has; None where it is not stored."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def claim(self, digest: str) -> int | None:
        """The bytes of a blob that somebody is about to name, so that it stays for now; None where it is not stored."""
        with self._lock(fcntl.LOCK_SH), suppress(FileNotFoundError):
            os.utime(self.path(digest))
            return self.path(digest).stat().st_size
        return None

    def unclaimed(self, before: float) -> Iterator[str]:
        """The digests of the blobs that nobody has wanted since then (seconds since 1970)."""
        for folder in self.folder.iterdir():
            if len(folder.name) == 2:
                with os.scandir(folder) as entries:
                    yield from (entry.name for entry in entries if entry.stat().st_mtime < before)

    def remove(self, digest: str, before: float) -> int:
        """Remove a blob unless somebody has wanted it since then; the bytes that it had, 0 where it stays."""
        path = self.path(digest)
        with self._lock(fcntl.LOCK_EX), suppress(FileNotFoundError):
            found = path.stat()
            if found.st_mtime < before:
                path.unlink()
                return found.st_size
        return 0

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)

    def partial_size(self, digest: str) -> int:
        """How many bytes of a blob that is under way have arrived; 0 for any other."""
        try:
            return (self._partials / _checked(digest)).stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self, digest: str) -> None:
        """Remove a blob, and what may have arrived of it; nothing happens where there is none."""
        for path in (self.path(digest), self._partials / digest):
            path.unlink(missing_ok=True)

    def put(self, data: bytes) -> Blob:
        """Store bytes that are in memory."""
        blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
        if self.claim(blob.digest) is None:
            with _disk_errors(self.folder), self._scratch() as (scratch, handle):
                _write_all(handle, data)
                self._settle(scratch, handle, blob.digest)
        return blob

    def put_file(self, path: Path, *, move: bool = False) -> Blob:
        """Store a file; `move`: it is not needed any more, and goes away. Raises OSError where it can not be read."""
        return self._moved(path) if move else self._copied(path)

    def open_partial(self, blob: Blob, *, timeout: float | None = None) -> Partial | None:
        """The place for a blob's bytes, with what arrived of it earlier; None: the blob is stored already.

        Waits while another receives the same blob. Raises TransferError when nothing has reached that one for
        `timeout` seconds, and OutputError where the disk has no room for the blob.
        """
        path = self._partials / _checked(blob.digest)
        size, grown = -1, time.monotonic()
        while self.claim(blob.digest) is None:
            with _disk_errors(self.folder):
                handle = _locked(path)
            if handle is None:
                if (now := self.partial_size(blob.digest)) != size:
                    size, grown = now, time.monotonic()
                if timeout is not None and time.monotonic() - grown > timeout:
                    raise TransferError(f"another process receives {blob.digest[:12]} and does not finish")
                time.sleep(_LOCK_PAUSE)
            elif self.has(blob.digest):
                path.unlink(missing_ok=True)
                os.close(handle)
            else:
                return self._resumed(blob, path, handle)
        return None

    def clean(self, older_than: timedelta) -> None:
        """Remove what arrived of blobs whose rest has not come for that long."""
        oldest = time.time() - older_than.total_seconds()
        for path in self._partials.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _resumed(self, blob: Blob, path: Path, handle: int) -> Partial:
        try:
            with _disk_errors(self.folder):
                partial = Partial(self, blob, path, handle)
            missing = blob.size - partial.offset
            if missing > shutil.disk_usage(self.folder).free:
                raise OutputError(f"{self.folder} can not be written: no room for {missing} bytes")
        except BaseException:
            os.close(handle)
            raise
        return partial

    def _copied(self, path: Path) -> Blob:
        hashed, size = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as source, _disk_errors(self.folder), self._scratch() as (scratch, handle):
            while data := source.read(_STEP):
                hashed.update(data)
                size += len(data)
                _write_all(handle, data)
            self._settle(scratch, handle, hashed.hexdigest())
        return Blob(digest=hashed.hexdigest(), size=size)

    def _moved(self, path: Path) -> Blob:
        with path.open("rb", buffering=0) as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
            blob = Blob(digest=digest, size=source.tell())
            if self.claim(digest) is not None:
                path.unlink()
                return blob
            try:
                self._settle(path, source.fileno(), digest)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise OutputError(f"{path} can not be stored: {error.strerror}") from error
            else:
                return blob
        blob = self._copied(path)
        path.unlink()
        return blob

    def _settle(self, scratch: Path, handle: int, digest: str) -> None:
        """Give verified bytes their name."""
        place = self.path(digest)
        os.fchmod(handle, 0o444)
        os.utime(handle)  # it may have lain elsewhere for long
        if self.durable:
            os.fsync(handle)
        try:
            scratch.replace(place)
        except FileNotFoundError:
            place.parent.mkdir(exist_ok=True)
            scratch.replace(place)
        if self.durable:
            _sync_folder(place.parent)

    @contextmanager
    def _scratch(self) -> Iterator[tuple[Path, int]]:
        """A new file, as path and open handle; what has not been given a name by the end is removed."""
        path = self._partials / f"put-{uuid.uuid4().hex}"
        try:
            with path.open("xb", buffering=0) as file:
                yield path, file.fileno()
        finally:
            path.unlink(missing_ok=True)

    def _forget_after_restart(self, forget: Callable[[], None]) -> None:
        running = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
        note = self.folder / "boot"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if note.exists() and note.read_text("ascii") == running:
                return
            for path in self.folder.iterdir():
                if path.is_dir() and (path.name == PARTIAL or len(path.name) == 2):
                    shutil.rmtree(path)
            forget()
            note.write_text(running, "ascii")


class Partial:
    """A blob that is under way: `write` its bytes in order from `offset`, then `commit`. It is locked until it ends."""

    def __init__(self, store: BlobStore, blob: Blob, path: Path, handle: int) -> None:
        self.blob, self.offset = blob, 0
        self._store, self._path, self._handle = store, path, handle
        self._hashed = hashlib.sha256()
        if os.fstat(handle).st_size > blob.size:
            os.ftruncate(handle, 0)
        while data := os.read(handle, _STEP):
            self._hashed.update(data)
            self.offset += len(data)

    def write(self, data: bytes) -> None:
        """The next bytes; raises WrongBytes for more than the blob has, and OutputError."""
        if self.offset + len(data) > self.blob.size:
            raise WrongBytes(f"more arrived of {self.blob.digest[:12]} than its {self.blob.size} bytes")
        self._hashed.update(data)
        with _disk_errors(self._store.folder):
            _write_all(self._handle, data)
        self.offset += len(data)

    def commit(self) -> Path:
        """Store the blob. One with another size or digest is removed, and raises WrongBytes."""
        try:
            if self.offset != self.blob.size or self._hashed.hexdigest() != self.blob.digest:
                self._path.unlink(missing_ok=True)
                raise WrongBytes(
                    f"{self.offset} bytes arrived as {self.blob.digest[:12]}, but they are not what that digest names"
                )
            with _disk_errors(self._store.folder):
                self._store._settle(self._path, self._handle, self.blob.digest)
        finally:
            self.close()
        return self._store.path(self.blob.digest)

    def close(self) -> None:
        """Stop; what has arrived stays for a later `open_partial`."""
        if self._handle >= 0:
            if self.offset == 0 and self.blob.size:
                self._remove_if_empty()
            os.close(self._handle)
            self._handle = -1

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            if os.fstat(self._handle).st_size == 0 and os.fstat(self._handle).st_nlink:
                self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no SHA-256 in lower-case hexadecimal")
    return digest


def _locked(path: Path) -> int | None:
    """The file, open and locked; None while another holds it, or where it has just been renamed or removed."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def _write_all(handle: int, data: bytes) -> None:
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, memoryview(data)[written:])


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder} can not be written: {error.strerror or error}") from error
