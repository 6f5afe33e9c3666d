"""Frees the disk of blobs that no job names any more, some time after they were last wanted.

What the database names is gathered a page in each turn; then a thread of its own goes through the blob store. A blob
is kept that was stored, offered or claimed in the last `keep_unused` seconds: an upload, a job that is being taken in
and a result that is on its way are no rows yet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf

from sqlalchemy import Connection

from distren.errors import DecodeError
from distren.storage.blobstore import BlobStore
from distren.storage.references import References
from distren.wire.jobs import Manifest

log = logging.getLogger(__name__)

_FIRST = 600.0
"""seconds after the start: results that waited for a server are applied by then"""
_EVERY = 3_600.0
"""seconds"""


class Collection:
    """`turn` belongs to the server's thread; `keep` is in seconds, infinity where nothing may be removed."""

    def __init__(self, store: BlobStore, keep: float, steady: float, now: Callable[[], float] = time.time) -> None:
        self._store, self._keep, self._now = store, keep, now
        self._next = self._first = steady + _FIRST
        self._gathering: References | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="collection")
        self._removing: Future[tuple[int, int]] | None = None

    def close(self) -> None:
        """End; what has not been removed is removed another time."""
        self._keep = inf
        self._threads.shutdown(wait=False, cancel_futures=True)

    def hasten(self, steady: float) -> None:
        """Jobs have been deleted: look soon."""
        self._next = min(self._next, max(steady, self._first))

    def turn(self, connection: Connection, steady: float) -> bool:
        """Go on with what is due; whether another turn is wanted for it."""
        if self._gathering is None:
            if steady < self._next or self._keep == inf or (self._removing is not None and not self._removing.done()):
                return False
            self._next = steady + _EVERY
            self._before = self._now() - self._keep
            self._gathering = References(self._inputs_of)
        if not self._gathering.page(connection):
            return True
        named, self._gathering = self._gathering, None
        self._removing = self._threads.submit(self._remove, named, self._before)
        return False

    def _inputs_of(self, manifest: str) -> Iterable[str]:
        try:
            return [file.digest for file in Manifest.expect(self._store.path(manifest).read_bytes()).files]
        except (OSError, DecodeError):  # a guest whose inputs are not here yet: they are claimed when they come
            return []

    def _remove(self, named: References, before: float) -> tuple[int, int]:
        """Remove what is not named and was not wanted since; how many blobs, and their bytes."""
        count = total = 0
        try:
            for digest in self._store.unclaimed(before):
                if self._keep == inf:
                    break
                if digest not in named and (size := self._store.remove(digest, before)):
                    count, total = count + 1, total + size
        except OSError as error:
            log.warning("what no job has any more could not be removed: %s", error)
        if count:
            log.info("removed %d files of %d bytes that no job has any more", count, total)
        return count, total
