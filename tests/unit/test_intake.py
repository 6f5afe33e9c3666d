"""What a server takes in as a seed: damaged in any way, it is refused with one line, or it is a good one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.errors import DistrenError, JobFileError
from distren.jobfile.writer import write_jobfile
from distren.server import seeds
from distren.storage.blobstore import BlobStore
from distren.wire.jobs import Manifest, ManifestFile

SCENE = b"sphere { 0, 1 }"


def job_file() -> bytes:
    spec = JobSpec(name="a", renderer="povray", frames=frameset.parse("1-3"), settings={"scene": "a.pov"})
    return write_jobfile(spec)


def manifest_of(store: BlobStore, contents: dict[str, bytes]) -> bytes:
    blobs = {path: store.put(data) for path, data in contents.items()}
    listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
    return Manifest(files=listed).encode()


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_damaged_seed_is_refused_in_one_line_or_is_a_good_one(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(prefix="distren-test-") as folder:
        store = BlobStore(Path(folder), durable=False)
        parts = {"job": bytearray(job_file())}
        if data.draw(st.booleans()):
            damage(data, parts["job"])
        parts["manifest"] = bytearray(manifest_of(store, {"distrenjob.xml": bytes(parts["job"]), "a.pov": SCENE}))
        damage(data, parts["manifest"])
        manifest = store.put(bytes(parts["manifest"]))
        text, seed = taken_in(store, manifest)
        assert "\n" not in text
        assert len(text) < 2_000
        if seed is not None:
            assert {file.path for file in seed.inputs} >= {"distrenjob.xml"}
            assert all(store.size(file.blob.digest) == file.blob.size for file in seed.inputs)


def taken_in(store: BlobStore, manifest: Blob) -> tuple[str, seeds.Seed | None]:
    """Why the seed is refused, or the seed."""
    try:
        return "", seeds.read_seed(store, manifest)
    except DistrenError as error:
        return str(error), None


def damage(data: st.DataObject, body: bytearray) -> None:
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]


def test_a_file_of_another_size_than_its_manifest_says_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    job, scene = store.put(job_file()), store.put(SCENE)
    listed = [
        ManifestFile(path="distrenjob.xml", digest=job.digest, size=job.size),
        ManifestFile(path="a.pov", digest=scene.digest, size=scene.size + 1),
    ]
    manifest = store.put(Manifest(files=listed).encode())
    with pytest.raises(JobFileError, match=r"'a\.pov' has 15 bytes, and the list of its files says 16"):
        seeds.read_seed(store, manifest)
