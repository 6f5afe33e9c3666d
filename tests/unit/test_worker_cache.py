"""The inputs of jobs on a host: laid out once, shared, removed when they have not been used for long."""

from __future__ import annotations

import io
import os
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from distren.domain.job import Blob
from distren.errors import NotFound, RenderError
from distren.storage.blobstore import BlobStore
from distren.tarballs.writer import Member, write_tarball
from distren.wire import fields
from distren.wire.frames import Render
from distren.wire.jobs import Manifest, ManifestFile
from distren.worker import needs
from distren.worker.cache import InputCache, forget


class Host:
    """A cache, and the server's store that it fetches from, with counts of what was fetched."""

    def __init__(self, folder: Path, limit: int = 10**9) -> None:
        self.server = BlobStore(folder / "server", durable=False)
        self.store = BlobStore(folder / "worker" / "blobs", durable=False)
        self.fetched: Counter[str] = Counter()
        self.cache = InputCache(folder / "worker", self.store, self.fetch, limit=limit)

    def fetch(self, blob: Blob) -> Path:
        if not self.server.has(blob.digest):
            raise NotFound(f"the server has no blob {blob.digest}")
        self.fetched[blob.digest] += 1
        self.store.put(self.server.path(blob.digest).read_bytes())
        return self.store.path(blob.digest)

    def seed(self, files: dict[str, bytes]) -> Blob:
        blobs = {path: self.server.put(data) for path, data in files.items()}
        listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
        return self.server.put(Manifest(files=listed).encode())


def test_a_seed_is_laid_out_as_files(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.cache.inputs(host.seed({"scene.pov": b"sphere", "textures/a/wood.png": b"wood"})) as folder:
        assert (folder / "scene.pov").read_bytes() == b"sphere"
        assert (folder / "textures/a/wood.png").read_bytes() == b"wood"
        assert (folder / "scene.pov").stat().st_mode & 0o777 == 0o444


def test_a_seed_is_fetched_once_for_many_frames_at_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    manifest = host.seed({f"file{number}": bytes([number]) for number in range(5)})

    def use() -> None:
        with host.cache.inputs(manifest) as folder:
            assert len(list(folder.iterdir())) == 5

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(host.fetched.values()) == {1}


def test_a_file_that_two_jobs_share_is_fetched_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for scene in (b"one", b"two"):
        with host.cache.inputs(host.seed({"scene.pov": scene, "sky.png": b"large"})):
            pass
    assert set(host.fetched.values()) == {1}


def test_a_missing_blob_leaves_no_layout_behind(tmp_path: Path) -> None:
    host = Host(tmp_path)
    manifest = host.seed({"scene.pov": b"sphere", "sky.png": b"sky"})
    host.server.delete(host.server.put(b"sky").digest)
    with pytest.raises(NotFound), host.cache.inputs(manifest):
        pass
    assert [path.name for path in (tmp_path / "worker" / "inputs").iterdir()] == [f"{manifest.digest}.lock"]


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a//b", "a/./b", "a/../../b", ""])
def test_a_path_that_leaves_the_layout_is_refused(tmp_path: Path, path: str) -> None:
    host = Host(tmp_path)
    with pytest.raises(RenderError, match="can not be laid out"), host.cache.inputs(host.seed({path: b"x"})):
        pass


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with pytest.raises(RenderError, match="clash"), host.cache.inputs(host.seed({"a": b"x", "a/b": b"y"})):
        pass


def test_inputs_that_were_unused_longest_go_first(tmp_path: Path) -> None:
    host = Host(tmp_path, limit=2_500)
    old, shared = host.seed({"a": b"a" * 1_000}), host.seed({"b": b"b" * 1_000})
    for age, manifest in ((100, old), (50, shared)):
        with host.cache.inputs(manifest):
            pass
        lock = tmp_path / "worker" / "inputs" / f"{manifest.digest}.lock"
        os.utime(lock, (lock.stat().st_mtime - age,) * 2)
    with host.cache.inputs(host.seed({"c": b"c" * 1_000})):
        pass
    layouts = {path.name for path in (tmp_path / "worker" / "inputs").iterdir() if path.is_dir()}
    assert old.digest not in layouts
    assert shared.digest in layouts
    assert not host.store.has(host.server.put(b"a" * 1_000).digest)


def test_layouts_of_before_a_restart_of_the_machine_are_made_again(tmp_path: Path) -> None:
    """They are links to files that may not have reached the disk when it went down."""
    host, cache = Host(tmp_path), tmp_path / "worker"
    manifest = host.seed({"folder/a": b"a"})
    with host.cache.inputs(manifest) as folder:
        damaged = folder / "folder" / "a"
        damaged.chmod(0o644)
        damaged.write_bytes(b"")
    (cache / "checkpoints").mkdir()
    (cache / "checkpoints" / "half").touch()
    (cache / "blobs" / "boot").write_text("another start of the machine")
    host.store = BlobStore(cache / "blobs", durable=False, forget=lambda: forget(cache))
    again = InputCache(cache, host.store, host.fetch)
    with again.inputs(manifest) as folder:
        assert (folder / "folder" / "a").read_bytes() == b"a"
    assert not (cache / "checkpoints").exists()


def test_inputs_in_use_are_never_removed(tmp_path: Path) -> None:
    host = Host(tmp_path, limit=1_500)
    with host.cache.inputs(host.seed({"a": b"a" * 1_000})) as used, host.cache.inputs(host.seed({"b": b"b" * 1_000})):
        assert (used / "a").exists()


def test_a_layout_that_was_removed_and_made_again_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers evict at once: the second one has looked at the lock before the first one removed it."""
    host = Host(tmp_path)
    manifest = host.seed({"a": b"a"})
    with host.cache.inputs(manifest):
        pass
    lock, opened = tmp_path / "worker" / "inputs" / f"{manifest.digest}.lock", os.open

    def others_are_faster(path: Path, flags: int, mode: int = 0o777) -> int:
        monkeypatch.undo()
        handle = opened(path, flags, mode)
        assert host.cache._remove(lock)
        used.enter_context(host.cache.inputs(manifest))
        return handle

    with ExitStack() as used:
        monkeypatch.setattr(os, "open", others_are_faster)
        assert not host.cache._remove(lock)
        assert (tmp_path / "worker" / "inputs" / manifest.digest / "a").read_bytes() == b"a"
        assert lock.exists()


def test_a_blob_that_another_layout_needs_stays(tmp_path: Path) -> None:
    host = Host(tmp_path, limit=3_000)
    first, second = host.seed({"a": b"x" * 1_000}), host.seed({"a": b"x" * 1_000, "b": b"y"})
    for manifest in (first, second):
        with host.cache.inputs(manifest):
            pass
    with host.cache.inputs(host.seed({"c": b"z" * 1_200})):
        pass
    with host.cache.inputs(second) as folder:
        assert (folder / "a").read_bytes() == b"x" * 1_000
    assert host.fetched[host.server.put(b"x" * 1_000).digest] == 1


def tarball(host: Host, **files: bytes) -> Blob:
    data = io.BytesIO()
    write_tarball(data, [Member(path=path.replace("_", "/"), source=content) for path, content in files.items()])
    return host.server.put(data.getvalue())


def needing(job: int, *results: tuple[int, int, Blob]) -> Render:
    return Render(
        job=job,
        frame=9,
        issue=1,
        renderer="toy",
        manifest=fields.Blob.of(results[0][2]),
        first=1,
        last=9,
        time_limit=9.0,
        needs=[(of_job, frame, blob.digest, blob.size) for of_job, frame, blob in results],
    )


def test_results_that_a_frame_needs_are_fetched_once_and_linked_into_its_folder(tmp_path: Path) -> None:
    host = Host(tmp_path)
    own, other = tarball(host, image=b"one", depth_z=b"far"), tarball(host, image=b"two")
    for name in ("a", "b"):
        output = tmp_path / name
        output.mkdir()
        for _ in range(2):  # an attempt that waited for the server lays them out again
            needs.lay(needing(7, (7, 3, own), (5, 3, other)), host.cache, output)
        found = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
        assert found == {
            "needs/frame/3/image": b"one",
            "needs/frame/3/depth/z": b"far",
            "needs/5/frame/3/image": b"two",
        }
    assert set(host.fetched.values()) == {1}
    assert (tmp_path / "a/needs/frame/3/image").stat().st_mode & 0o222 == 0
    assert not host.store.has(own.digest)


def test_results_that_other_frames_needed_are_removed_when_they_were_unused_longest(tmp_path: Path) -> None:
    host = Host(tmp_path, limit=15_000)
    first, second = tarball(host, image=bytes(10_000)), tarball(host, image=b"x" * 10_000)
    with host.cache.result(first) as folder:
        kept = folder
    with host.cache.result(second):
        pass
    assert not kept.exists()
