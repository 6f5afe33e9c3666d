"""The inputs of jobs on this host: fetched once whatever the number of workers, slots, frames and jobs.

<cache>/blobs/            the bytes, by digest (distren.storage.blobstore)
<cache>/inputs/<digest>/  a seed laid out as files: hard links to the blobs, named by its manifest's digest;
    or the files of a frame tarball that other frames need, named by the tarball's digest
<cache>/inputs/<digest>.lock
    flock: shared while frames use the layout, exclusive while it is built or removed; its text is the layout's
    size in bytes, the time of its last change is when the layout was last used
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from distren.domain.job import Blob
from distren.errors import RenderError, TransferError
from distren.storage.blobstore import BlobStore
from distren.tarballs.reader import unpack
from distren.wire.jobs import Manifest, ManifestFile
from distren.worker.scratch import remove_tree

log = logging.getLogger(__name__)

LIMIT = 20 * 10**9
"""bytes of inputs that are kept on a host; those that have been unused longest go first"""
_AT_ONCE = 8
"""files that are fetched side by side: small ones cost a round trip each"""
_NO_LINK = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})
_TRIES = 3


_Build = Callable[[Blob, Path], int]
"""lays a blob out in a folder, and returns how many bytes that takes"""


class InputCache:
    """The inputs on this host; `fetch` brings a blob that the store lacks and returns its path."""

    def __init__(self, folder: Path, store: BlobStore, fetch: Callable[[Blob], Path], *, limit: int = LIMIT) -> None:
        self._folder, self._store, self._fetch, self._limit = folder / "inputs", store, fetch, limit
        self._folder.mkdir(parents=True, exist_ok=True)
        self.checkpoints = folder / "checkpoints"
        """where interrupted renders are kept (distren.worker.checkpoints)"""

    @contextmanager
    def inputs(self, manifest: Blob) -> Iterator[Path]:
        """The folder that holds the seed of `manifest`, which stays there as long as the context is open.

        Raises what `fetch` raises, RenderError for a manifest that can not be laid out, and OSError.
        """
        with self._held(manifest, self._build) as folder:
            yield folder

    @contextmanager
    def result(self, tarball: Blob) -> Iterator[Path]:
        """The folder that holds the files of a frame tarball, as `inputs` does for a seed.

        Raises what `fetch` raises, TarballError for one that can not be read, and OutputError.
        """
        with self._held(tarball, self._unpack) as folder:
            yield folder

    @contextmanager
    def _held(self, source: Blob, build: _Build) -> Iterator[Path]:
        lock = self._locked(source, build)
        try:
            yield self._folder / source.digest
        finally:
            os.close(lock)

    def _locked(self, manifest: Blob, build: _Build) -> int:
        """A descriptor with a shared lock on the layout, which exists."""
        layout, path = self._folder / manifest.digest, self._lock_file(manifest.digest)
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                if layout.is_dir() and os.fstat(lock).st_nlink:
                    os.utime(lock)
                    return lock
                fcntl.flock(lock, fcntl.LOCK_EX)
                # An eviction in between has removed the file: what we have locked is not what others lock.
                if os.fstat(lock).st_nlink and not layout.is_dir():
                    size = build(manifest, layout)
                    os.truncate(lock, 0)
                    os.pwrite(lock, str(size).encode(), 0)
                    self._evict(keep=manifest.digest)
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)

    def _build(self, manifest: Blob, layout: Path) -> int:
        """Fetch and lay out; returns the size in bytes."""
        files = Manifest.expect(self._bring(manifest).read_bytes()).files
        blobs = {file.digest: Blob(digest=file.digest, size=file.size) for file in files}
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=self._folder))
        try:
            self._bring_all(list(blobs.values()))
            for file in files:
                self._place(file, building)
            _make_read_only(building)
            building.rename(layout)
        except BaseException:
            remove_tree(building)
            raise
        return manifest.size + sum(blob.size for blob in blobs.values())

    def _unpack(self, tarball: Blob, layout: Path) -> int:
        """Fetch a frame tarball and lay its files out; the tarball itself is not needed any more."""
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=self._folder))
        try:
            unpack(self._bring(tarball), building)
            _make_read_only(building)
            building.rename(layout)
        except BaseException:
            remove_tree(building)
            raise
        self._store.delete(tarball.digest)
        return tarball.size

    def _bring_all(self, blobs: list[Blob]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as fetching:
            try:
                list(fetching.map(self._bring, blobs))
            except BaseException:
                fetching.shutdown(wait=False, cancel_futures=True)
                raise

    def _bring(self, blob: Blob) -> Path:
        return self._store.path(blob.digest) if self._store.has(blob.digest) else self._fetch(blob)

    def _place(self, file: ManifestFile, building: Path) -> None:
        target = building / _relative(file.path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            for _ in range(_TRIES):
                source = self._bring(Blob(digest=file.digest, size=file.size))
                with suppress(FileNotFoundError):  # another worker has removed it as unused: fetch it again
                    link(source, target)
                    return
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise RenderError(f"the job's files clash at '{file.path}'") from error
        raise TransferError(f"'{file.path}' vanished from the cache while it was laid out: is another program there?")

    # -- eviction ----------------------------------------------------------------------------------------------------

    def _evict(self, keep: str) -> None:
        """Remove the layouts that have been unused longest until the rest is within the limit."""
        known = []
        for path in self._folder.glob("*.lock"):
            with suppress(OSError, ValueError):
                known.append((path.stat().st_mtime_ns, path, int(path.read_text() or "0")))
        total = sum(size for _, _, size in known)
        for _, path, size in sorted(known):
            if total <= self._limit:
                return
            if path.stem != keep and self._remove(path):
                total -= size

    def _remove(self, path: Path) -> bool:
        """Remove the layout behind the lock file `path`, unless it is in use."""
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(lock).st_nlink:
                return False  # another worker has removed the layout, and a third may have made it again
            digest, gone = path.stem, Path(tempfile.mkdtemp(prefix=".removed-", dir=self._folder))
            with suppress(FileNotFoundError):
                (self._folder / digest).rename(gone / "inputs")
            remove_tree(gone)
            self._remove_blobs(digest)
            path.unlink(missing_ok=True)
            log.info("removed inputs that were not used lately: %s", digest)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(lock)

    def _remove_blobs(self, manifest: str) -> None:
        """Delete the blobs of a manifest that no other layout has a link to."""
        if self._store.has(manifest):
            for file in Manifest.expect(self._store.path(manifest).read_bytes()).files:
                with suppress(FileNotFoundError):
                    if self._store.path(file.digest).stat().st_nlink == 1:
                        self._store.delete(file.digest)
            self._store.delete(manifest)

    def _lock_file(self, digest: str) -> Path:
        return self._folder / f"{digest}.lock"


def _relative(path: str) -> PurePosixPath:
    """`path` if it stays below the folder that it is relative to; raises RenderError."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise RenderError(f"the job names a file that can not be laid out: '{path[:100]}'")
    return PurePosixPath(path)


def forget(folder: Path) -> None:
    """Remove what the machine may not have had on its disk when it went down: layouts, and states of renders.

    To be called before any worker uses them.
    """
    for name in ("inputs", "checkpoints"):
        remove_tree(folder / name)


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the disk has none."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copyfile(source, target)


def _make_read_only(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            Path(parent, name).chmod(0o444)
    for parent, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            Path(parent, name).chmod(0o555)
    # The folder itself has to stay writable: only then can it be renamed.
