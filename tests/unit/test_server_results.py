"""A result is stored, or found to be bad; a disk that does not take it now is no fault of the frame's."""

from __future__ import annotations

import hashlib

import pytest

from distren.domain.job import Blob
from distren.errors import OutputError
from distren.server.results import store_result
from distren.wire import fields
from distren.wire.frames import Completed

TARBALL = b"a frame tarball"


class Store:
    """A blob store whose disk is full for the first `full` times."""

    def __init__(self, full: int = 0) -> None:
        self.full = full
        self.stored: list[bytes] = []

    def put(self, data: bytes) -> Blob:
        if self.full:
            self.full -= 1
            raise OutputError("the blobs can not be written: No space left on device")
        self.stored.append(data)
        return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))

    def claim(self, digest: str) -> int | None:
        return next((len(data) for data in self.stored if hashlib.sha256(data).hexdigest() == digest), None)


def completed(tarball: bytes | None = TARBALL) -> Completed:
    digest = hashlib.sha256(TARBALL).hexdigest()
    return Completed(
        worker="w",
        job=1,
        frame=1,
        issue=1,
        token="a" * 32,
        started=1.0,
        seconds=1.0,
        result=fields.Blob(digest=digest, size=len(TARBALL)),
        tarball=tarball,
    )


def test_a_good_result_is_stored() -> None:
    store = Store()
    assert store_result(store, completed()) is None  # type: ignore[arg-type]
    assert store.stored == [TARBALL]


def test_other_bytes_than_their_digest_says_fail_the_attempt() -> None:
    failure = store_result(Store(), completed(b"other bytes xxx"))  # type: ignore[arg-type]
    assert failure is not None
    assert "damaged" in failure.reason


def test_a_result_whose_blob_is_not_there_fails_the_attempt() -> None:
    failure = store_result(Store(), completed(None))  # type: ignore[arg-type]
    assert failure is not None
    assert "never arrived" in failure.reason


def test_a_full_disk_fails_no_attempt() -> None:
    with pytest.raises(OutputError, match="No space left"):
        store_result(Store(full=1), completed())  # type: ignore[arg-type]
