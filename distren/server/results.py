"""A result is valid when its bytes are stored under their digest; one that is not counts as a failed attempt."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

from distren.errors import OutputError
from distren.storage.blobstore import BlobStore
from distren.wire.frames import Completed, Failed

log = logging.getLogger(__name__)


def store_result(store: BlobStore, event: Completed, *, stopped: Callable[[], bool]) -> Failed | None:
    """Store the frame tarball that travelled inside the event; returns the failure where there is no valid one.

    A disk that does not take it is no fault of the frame's: it is tried again for as long as `stopped`, which waits a
    moment, says no. Raises OutputError after that.
    """
    tarball, blob = event.tarball, event.result
    if tarball is None:
        return None if store.has(blob.digest) else _failure(event, "its frame tarball never arrived")
    if len(tarball) != blob.size or hashlib.sha256(tarball).hexdigest() != blob.digest:
        return _failure(event, "its frame tarball arrived damaged")
    told = False
    while True:
        try:
            store.put(tarball)
        except (OutputError, OSError) as error:
            if not told:
                log.error("results can not be stored, trying again until they are: %s", error)
                told = True
            if stopped():
                raise OutputError(f"a result was not stored: {error}") from error
        else:
            return None


def _failure(event: Completed, reason: str) -> Failed:
    return Failed(
        worker=event.worker,
        job=event.job,
        frame=event.frame,
        issue=event.issue,
        token=event.token,
        started=event.started,
        seconds=event.seconds,
        log=event.log,
        reason=reason,
    )
