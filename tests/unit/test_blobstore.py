"""The blob store on a real disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from distren.domain.job import Blob
from distren.errors import OutputError, TransferError
from distren.storage.blobstore import BlobStore, Partial

DATA = os.urandom(300_000)


def blob_of(data: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def opened(store: BlobStore, blob: Blob) -> Partial:
    partial = store.open_partial(blob, timeout=10)
    assert partial is not None
    return partial


def files_below(store: BlobStore) -> list[Path]:
    return [path for path in store.folder.rglob("*") if path.is_file()]


def test_bytes_are_found_under_their_digest(store: BlobStore) -> None:
    blob = store.put(DATA)
    assert blob == blob_of(DATA)
    assert store.has(blob.digest)
    assert store.path(blob.digest).read_bytes() == DATA


def test_storing_the_same_bytes_twice_keeps_one_file(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert store.put(DATA) == store.put(DATA) == store.put_file(tmp_path / "file")
    assert len(files_below(store)) == 1


def test_a_copied_file_stays_and_a_moved_file_goes(store: BlobStore, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(DATA)
    second.write_bytes(DATA[1:])
    store.put_file(first)
    moved = store.put_file(second, move=True)
    assert first.exists()
    assert not second.exists()
    assert store.path(moved.digest).read_bytes() == DATA[1:]


def test_moving_a_file_that_is_stored_already_removes_it(store: BlobStore, tmp_path: Path) -> None:
    blob = store.put(DATA)
    (tmp_path / "file").write_bytes(DATA)
    assert store.put_file(tmp_path / "file", move=True) == blob
    assert not (tmp_path / "file").exists()


def test_a_blob_arrives_in_parts(store: BlobStore) -> None:
    blob = blob_of(DATA)
    partial = store.open_partial(blob)
    assert partial is not None
    partial.write(DATA[:100_000])
    assert not store.has(blob.digest)
    assert store.partial_size(blob.digest) == 100_000
    partial.write(DATA[100_000:])
    assert partial.commit() == store.path(blob.digest)
    assert store.path(blob.digest).read_bytes() == DATA
    assert store.partial_size(blob.digest) == 0
    assert store.open_partial(blob) is None


def test_a_partial_blob_resumes_where_it_stopped(store: BlobStore) -> None:
    blob = blob_of(DATA)
    with opened(store, blob) as partial:
        partial.write(DATA[:123_457])
    with opened(BlobStore(store.folder), blob) as partial:
        assert partial.offset == 123_457
        partial.write(DATA[123_457:])
        partial.commit()
    assert store.path(blob.digest).read_bytes() == DATA


def test_the_wrong_bytes_are_removed_and_never_named(store: BlobStore) -> None:
    blob = blob_of(DATA)
    with opened(store, blob) as partial:
        partial.write(DATA[1:] + b"x")
        with pytest.raises(TransferError):
            partial.commit()
    assert not files_below(store)


def test_too_few_bytes_are_removed_and_never_named(store: BlobStore) -> None:
    with opened(store, blob_of(DATA)) as partial:
        partial.write(DATA[:-1])
        with pytest.raises(TransferError):
            partial.commit()
    assert not files_below(store)


def test_more_bytes_than_announced_are_not_written(store: BlobStore) -> None:
    blob = Blob(digest=blob_of(DATA).digest, size=10)
    with opened(store, blob) as partial, pytest.raises(TransferError):
        partial.write(DATA)
    assert not files_below(store)


def test_a_partial_file_longer_than_its_blob_begins_again(store: BlobStore) -> None:
    with opened(store, Blob(digest=blob_of(DATA).digest, size=2 * len(DATA))) as partial:
        partial.write(DATA + b"more")
    with opened(store, blob_of(DATA)) as partial:
        assert partial.offset == 0


def test_no_bytes_at_all_are_a_blob_too(store: BlobStore) -> None:
    with opened(store, blob_of(b"")) as partial:
        partial.commit()
    assert store.path(blob_of(b"").digest).read_bytes() == b""


def test_whoever_waits_for_a_blob_under_way_finds_it_stored(store: BlobStore) -> None:
    blob = blob_of(DATA)
    partial = store.open_partial(blob)
    assert partial is not None
    found: list[object] = []
    other = threading.Thread(target=lambda: found.append(BlobStore(store.folder).open_partial(blob)))
    other.start()
    partial.write(DATA)
    partial.commit()
    other.join(10)
    assert found == [None]


def test_whoever_waits_takes_over_from_one_who_gave_up(store: BlobStore) -> None:
    blob = blob_of(DATA)
    partial = store.open_partial(blob)
    assert partial is not None
    partial.write(DATA[:10])
    offsets: list[int] = []

    def wait() -> None:
        with opened(store, blob) as taken:
            offsets.append(taken.offset)

    other = threading.Thread(target=wait)
    other.start()
    partial.close()
    other.join(10)
    assert offsets == [10]


def test_waiting_for_another_receiver_ends_in_time(store: BlobStore) -> None:
    with opened(store, blob_of(DATA)), pytest.raises(TransferError):
        store.open_partial(blob_of(DATA), timeout=0.1)


def test_a_blob_larger_than_the_disk_is_refused_before_it_starts(store: BlobStore) -> None:
    with pytest.raises(OutputError, match="no room"):
        store.open_partial(Blob(digest="0" * 64, size=2**53))
    assert store.open_partial(Blob(digest="0" * 64, size=1), timeout=1) is not None


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_is_an_error_that_says_so(store: BlobStore) -> None:
    with files_limited_to(1_000):
        with pytest.raises(OutputError, match="too large"):
            store.put(DATA)
        with opened(store, blob_of(DATA)) as partial, pytest.raises(OutputError):
            partial.write(DATA)
    assert not store.has(blob_of(DATA).digest)


def test_after_a_full_disk_the_bytes_that_fitted_are_resumed(store: BlobStore) -> None:
    blob = blob_of(DATA)
    with opened(store, blob) as partial, files_limited_to(1_000), pytest.raises(OutputError):
        partial.write(DATA)
    with opened(store, blob) as partial:
        partial.write(DATA[partial.offset :])
        partial.commit()
    assert store.path(blob.digest).read_bytes() == DATA


def test_a_digest_can_not_name_a_path(store: BlobStore) -> None:
    with pytest.raises(ValueError):
        store.path("../../../../etc/passwd")


def test_old_partial_files_are_cleaned_away(store: BlobStore) -> None:
    with opened(store, blob_of(DATA)) as partial:
        partial.write(DATA[:10])
    store.clean(timedelta(hours=1))
    assert store.partial_size(blob_of(DATA).digest) == 10
    store.clean(timedelta(0))
    assert store.partial_size(blob_of(DATA).digest) == 0


def test_a_cache_forgets_its_files_when_the_machine_was_restarted(tmp_path: Path) -> None:
    cache = BlobStore(tmp_path / "cache", durable=False)
    blob = cache.put(DATA)
    assert BlobStore(tmp_path / "cache", durable=False).has(blob.digest)
    (tmp_path / "cache" / "boot").write_text("another start of the machine")
    assert not BlobStore(tmp_path / "cache", durable=False).has(blob.digest)


def test_workers_that_begin_with_a_new_cache_at_once_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, lock, stores = shutil.rmtree, fcntl.flock, []
    another = threading.Thread(target=lambda: stores.append(BlobStore(tmp_path / "cache", durable=False)))
    waits = threading.Event()

    def another_starts_now(folder: Path) -> None:
        remove(folder)
        another.start()
        wait_for(lambda: folder.exists() or waits.is_set())

    def locked(file: Any, kind: int) -> None:
        if threading.current_thread() is another:
            waits.set()
        lock(file, kind)

    (tmp_path / "cache" / "partial").mkdir(parents=True)
    monkeypatch.setattr(shutil, "rmtree", another_starts_now)
    monkeypatch.setattr(fcntl, "flock", locked)
    stores.append(BlobStore(tmp_path / "cache", durable=False))
    another.join()
    assert len(stores) == 2
    assert all(store.put(DATA) == blob_of(DATA) for store in stores)
