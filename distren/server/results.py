"""A result is valid when its bytes are stored under their digest; one that is not counts as a failed attempt."""

from __future__ import annotations

import hashlib

from distren.storage.blobstore import BlobStore
from distren.wire.frames import Completed, Failed


def store_result(store: BlobStore, event: Completed) -> Failed | None:
    """Store the frame tarball that travelled inside the event; returns the failure where there is no valid one.

    Raises OutputError where the server's own disk does not take it: that says nothing against the frame.
    """
    tarball, blob = event.tarball, event.result
    if tarball is None:
        return None if store.has(blob.digest) else _failure(event, "its frame tarball never arrived")
    if len(tarball) != blob.size or hashlib.sha256(tarball).hexdigest() != blob.digest:
        return _failure(event, "its frame tarball arrived damaged")
    store.put(tarball)
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
