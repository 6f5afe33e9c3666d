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
        return None if store.claim(blob.digest) is not None else as_failed(event, "its frame tarball never arrived")
    if (reason := check_bytes(event)) is not None:
        return as_failed(event, reason)
    store.put(tarball)
    return None


def check_bytes(event: Completed) -> str | None:
    """What is wrong with the frame tarball inside the event, if it is there."""
    tarball, blob = event.tarball, event.result
    if tarball is None or (len(tarball) == blob.size and hashlib.sha256(tarball).hexdigest() == blob.digest):
        return None
    return "its frame tarball arrived damaged"


def as_failed(event: Completed, reason: str) -> Failed:
    """The failure that stands in for a result that is none."""
    return Failed(
        worker=event.worker,
        job=event.job,
        frame=event.frame,
        issue=event.issue,
        token=event.token,
        started=event.started,
        seconds=event.seconds,
        log=event.log,
        memory=event.memory,
        processor=event.processor,
        reason=reason,
    )
