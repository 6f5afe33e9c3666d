"""Blobs that no job names any more go, some time after they were last wanted, and no other ones."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert
from test_dependencies import Chained
from test_lifecycle import completed, token

from distren.domain import frameset
from distren.domain.job import Blob, InputFile, JobSpec
from distren.server import deletion
from distren.server.collection import Collection
from distren.server.lifecycle import Lifecycle
from distren.storage import newjobs, references, tables
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.frames import Render
from distren.wire.jobs import Manifest, ManifestFile

OLD = 1_000_000.0
"""seconds since 1970"""


class Store(Chained):
    """A farm with a blob store, whose files are all old."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        super().__init__(engine)
        self.store = BlobStore(folder)

    def blob(self, text: str) -> Blob:
        blob = self.store.put(text.encode())
        self.age()
        return blob

    def age(self) -> None:
        for path in self.store.folder.glob("??/*"):
            os.utime(path, (OLD, OLD))

    def submit(self, *inputs: str) -> int:  # type: ignore[override]
        spec = JobSpec(name="t", renderer="povray", frames=frameset.parse("1-2"))
        files = [InputFile(path=text, blob=self.blob(text)) for text in inputs]
        with self.engine.begin() as connection:
            manifest = self.blob("manifest of " + " ".join(inputs))
            return newjobs.add(connection, spec, key=token(), manifest=manifest, inputs=files, now=1.0)

    def render(self, job: int, frame: int, text: str) -> None:
        self.dispatch()
        issue = self.frame(job, frame).frame.issue
        self.apply(completed(job, frame, issue=issue, name=token(), blob=self.blob(text)))

    def delete(self, job: int) -> None:
        with self.engine.begin() as connection:
            lifecycle = Lifecycle(connection, self.now)
            deletion.delete(connection, lifecycle, job, force=True, now=self.now)
            lifecycle.save()
        self.sweep()

    def sweep(self) -> None:
        more = True
        while more:
            with self.engine.begin() as connection:
                more = deletion.remove_some(connection)

    def collect(self) -> tuple[int, int]:
        collection = Collection(self.store, 3_600.0, -1_000.0)
        more = True
        while more:
            with self.engine.begin() as connection:
                more = collection.turn(connection, 0.0)
        assert collection._removing is not None
        removed = collection._removing.result()
        collection.close()
        return removed

    def kept(self) -> set[str]:
        return {path.read_text() for path in self.store.folder.glob("??/*")}


@pytest.fixture
def farm(engine: Engine, tmp_path: Path) -> Store:
    return Store(engine, tmp_path / "blobs")


@pytest.mark.parametrize("page", [1, 20_000])
def test_what_a_deleted_job_had_goes_and_what_another_one_has_stays(
    farm: Store, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_PAGE", page)
    first, second = farm.submit("shared", "first's"), farm.submit("shared", "second's")
    farm.render(first, 1, "result of the first")
    farm.change_many(first, "retry", "1")
    farm.render(first, 1, "another result of the first")
    farm.render(second, 2, "result of the second")
    assert farm.collect() == (0, 0)
    everything = farm.kept()
    farm.delete(first)
    gone = {"first's", "manifest of shared first's", "result of the first", "another result of the first"}
    assert farm.collect() == (4, sum(map(len, gone)))
    assert farm.kept() == everything - gone
    farm.delete(second)
    farm.collect()
    assert farm.kept() == set()


def test_what_was_wanted_of_late_stays_although_no_job_names_it(farm: Store) -> None:
    for text in ("stored", "offered", "forgotten"):
        farm.blob(text)
    farm.store.put(b"stored")
    assert farm.store.claim(Blob(digest=farm.store.put(b"offered").digest, size=7).digest) == 7
    assert farm.collect() == (1, len("forgotten"))
    assert farm.kept() == {"stored", "offered"}


def test_a_job_that_is_being_written_keeps_its_files(farm: Store) -> None:
    from test_newjobs import part

    from distren.server.intake import Taking
    from distren.server.seeds import Seed

    spec = JobSpec(name="t", renderer="povray", frames=frameset.parse("1-100000"))
    inputs = (InputFile(path="a", blob=farm.blob("input")),)
    taking = Taking(token(), Seed(spec=spec, manifest=farm.blob("manifest"), inputs=inputs), 1.0)
    assert not part(farm, taking, 20)
    assert farm.collect() == (0, 0)
    while not part(farm, taking):
        pass
    assert farm.collect() == (0, 0)
    assert farm.kept() == {"input", "manifest"}


def test_a_guest_keeps_what_its_frames_need(farm: Store) -> None:
    job = farm.submit("own")
    scene, needed = farm.blob("scene"), farm.blob("needed result")
    listed = Manifest(files=[ManifestFile(path="a.pov", digest=scene.digest, size=scene.size)])
    manifest = farm.store.put(listed.encode())
    render = Render(
        job=job,
        frame=1,
        issue=1,
        renderer="povray",
        manifest=fields.Blob.of(manifest),
        first=1,
        last=2,
        time_limit=1.0,
        needs=[(job, 2, needed.digest, needed.size)],
    )
    with farm.engine.begin() as connection:
        connection.execute(tables.jobs.update().values(manifest=manifest.digest))
        connection.execute(insert(tables.guests).values(job=job, peer="beta", of_job=7, renderer="povray"))
        row = {"job": job, "frame": 1, "issue": 1, "render": render.encode(), "arriving": 1}
        connection.execute(insert(tables.guest_frames).values(row))
    farm.age()
    assert farm.collect() == (1, len("manifest of own"))
    assert farm.store.has(scene.digest)
    assert farm.store.has(needed.digest)


def test_nobody_who_was_told_that_a_blob_is_there_loses_it(tmp_path: Path) -> None:
    """One removes old blobs while another claims them: either it is told that a blob is gone, or it stays."""
    store = BlobStore(tmp_path)
    blobs = [store.put(f"{number}".encode()) for number in range(400)]
    for blob in blobs:
        os.utime(store.path(blob.digest), (OLD, OLD))
    start, claimed = threading.Barrier(2), []

    def claim() -> None:
        start.wait()
        claimed.extend(blob for blob in reversed(blobs) if store.claim(blob.digest) is not None)

    claiming = threading.Thread(target=claim)
    claiming.start()
    start.wait()
    removed = [blob for blob in blobs if store.remove(blob.digest, time.time() - 60)]
    claiming.join()
    assert all(store.has(blob.digest) for blob in claimed)
    assert len(removed) + len(claimed) == len(blobs)
    assert not set(removed) & set(claimed)
