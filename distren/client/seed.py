"""Makes a seed, the files of a job with distrenjob.xml at their root, out of a scene, a folder or a tarball."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from distren.client.folder import gather
from distren.client.wishes import Wishes
from distren.domain.frameset import check_count
from distren.domain.job import Blob, InputFile, JobSpec
from distren.errors import FrameRangeError, SceneError, TarballError
from distren.jobfile import scan, words
from distren.jobfile.manifest import check_files, write_manifest
from distren.jobfile.reader import read_jobfile
from distren.jobfile.words import FILE_NAME
from distren.jobfile.writer import write_jobfile
from distren.renderers import registry
from distren.renderers.protocol import Renderer, Scene
from distren.renderers.work import check_works
from distren.tarballs.paths import PathError, PathSet
from distren.tarballs.reader import unpack

log = logging.getLogger(__name__)

_TARBALLS = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tzst", ".tar.zst")
_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_USTAR = slice(257, 262)
_HASHERS = 4


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A job, ready to be handed in. Use it in a `with`, or `close` it: what was unpacked or copied goes away with it.

    `files` are the real files (or the bytes) by their paths in the seed.
    """

    spec: JobSpec
    files: Mapping[str, Path | bytes]
    scratch: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove what the seed has unpacked or copied."""
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    @cached_property
    def inputs(self) -> tuple[InputFile, ...]:
        """Every file with its size and digest, in the order of their paths; reads each file once, when first asked.

        Raises SceneError for a file that can not be read and JobFileError where a server would refuse the seed.
        """
        paths = sorted(self.files)
        with ThreadPoolExecutor(min(_HASHERS, os.cpu_count() or 1)) as threads:
            blobs = list(threads.map(blob_of, (self.files[path] for path in paths)))
        inputs = tuple(InputFile(path=path, blob=blob) for path, blob in zip(paths, blobs, strict=True))
        check_files(inputs)
        return inputs

    @cached_property
    def _manifest(self) -> bytes:
        return write_manifest(self.inputs)

    def manifest(self) -> tuple[bytes, Blob]:
        """The seed's manifest and the blob that it is."""
        return self._manifest, blob_of(self._manifest)

    def blobs(self) -> dict[str, Path | bytes]:
        """Everything that a server needs, by digest: each file once, and the manifest last."""
        found = {file.blob.digest: self.files[file.path] for file in self.inputs}
        data, blob = self.manifest()
        return {**found, blob.digest: data}


def pack(
    source: Path,
    wishes: Wishes = Wishes(),  # noqa: B008 (it is frozen)
    on_scene: Callable[[Path], None] | None = None,
) -> Seed:
    """The seed of a scene file, a folder or a tarball.

    `on_scene` is told of a scene file before it is read; it is one of the seed's files, unless its paths are rewritten.
    Files are read when the seed is asked for its inputs. Raises SceneError, TarballError, JobFileError, FrameRangeError
    (nobody says which frames), SettingsError (a wish can not be used), RendererUnavailable.
    """
    wishes.check()
    if source.name == FILE_NAME and source.is_file():
        source = source.parent
    if source.is_dir():
        return _from_folder(source, wishes)
    if not source.is_file():
        why = "is neither a file nor a folder" if source.exists() else "does not exist"
        raise SceneError(f"'{source}' {why}: name a scene, a folder or a tarball of a job")
    if _is_tarball(source, wishes):
        return _from_tarball(source, wishes)
    if on_scene is not None:
        on_scene(source)
    return _from_scene(source, wishes)


def _is_tarball(path: Path, wishes: Wishes) -> bool:
    if path.name.lower().endswith(_TARBALLS):
        return True
    if wishes.renderer is not None or any(adapter.accepts(path) for adapter in registry.installed().values()):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise _unreadable(path, error) from error
    return start.startswith(_MAGIC) or start[_USTAR] == b"ustar"


def _from_scene(path: Path, wishes: Wishes) -> Seed:
    adapter = _adapter(path, wishes)
    scene = adapter.read_scene(path, wishes.settings)
    return _seed_of_scene(adapter, path, scene, {}, path.stem, wishes)


def _from_folder(folder: Path, wishes: Wishes) -> Seed:
    files = gather(folder)
    if FILE_NAME in files:
        return _with_job_file(files, wishes)
    path = _only_scene(folder, wishes)
    adapter = _adapter(path, wishes)
    scene = adapter.read_scene(path, wishes.settings)
    if scene.root.resolve() != folder.resolve():
        raise SceneError(f"'{path.name}' needs files outside of '{folder}': put them into the folder")
    return _seed_of_scene(adapter, path, scene, files, folder.resolve().name, wishes)


def _from_tarball(path: Path, wishes: Wishes) -> Seed:
    scratch = Path(tempfile.mkdtemp(prefix="distren-seed-"))
    try:
        unpack(path, scratch / "seed")
        files = gather(scratch / "seed", hidden=True)
        if FILE_NAME not in files:
            raise TarballError(_no_job_file(path, files))
        return replace(_with_job_file(files, wishes), scratch=scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _no_job_file(path: Path, files: Mapping[str, Path]) -> str:
    nested = next((name for name in files if name.endswith(f"/{FILE_NAME}")), None)
    if nested is not None:
        folder = nested.rpartition("/")[0]
        return f"{path}: {FILE_NAME} lies in '{folder}', not at the root: pack it with tar -C {folder} -cf job.tar ."
    return f"{path}: it has no {FILE_NAME} at its root: submit the folder or the scene instead, or add one"


def _with_job_file(files: Mapping[str, Path], wishes: Wishes) -> Seed:
    """A seed that brings its own job file, rewritten where the wishes change what it says."""
    if wishes.scene is not None:
        raise SceneError(f"there is a {FILE_NAME}, which names the scene: leave --scene out")
    path = files[FILE_NAME]
    try:
        with path.open("rb") as file:
            data = file.read(scan.DEFAULT_LIMITS.bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    written = read_jobfile(data)
    wanted = wishes.over(written)
    check_works(wanted)
    return _checked(wanted, {**files, FILE_NAME: path if wanted == written else write_jobfile(wanted)})


def _only_scene(folder: Path, wishes: Wishes) -> Path:
    """The scene that a folder without a job file is about."""
    if wishes.scene is not None:
        if Path(wishes.scene).name != wishes.scene or not (folder / wishes.scene).is_file():
            raise SceneError(f"there is no scene '{wishes.scene}' in '{folder}': name a file that lies right in it")
        return folder / wishes.scene
    adapters = [registry.named(wishes.renderer)] if wishes.renderer else list(registry.installed().values())
    visible = (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))
    scenes = [path for path in visible if any(adapter.accepts(path) for adapter in adapters)]
    settled = [path for path in scenes if path.suffix.lower() == ".ini"] if len(scenes) > 1 else scenes
    if len(settled) == 1:
        return settled[0]
    if not scenes:
        raise SceneError(f"'{folder}' holds neither {FILE_NAME} nor a scene that a renderer knows")
    names = ", ".join(path.name for path in scenes[:10]) + (", ..." if len(scenes) > 10 else "")
    raise SceneError(f"'{folder}' holds several scenes ({names}): name one with --scene")


def _adapter(path: Path, wishes: Wishes) -> Renderer:
    return registry.for_scene(path) if wishes.renderer is None else registry.named(wishes.renderer)


def _seed_of_scene(
    adapter: Renderer, path: Path, scene: Scene, files: Mapping[str, Path], name: str, wishes: Wishes
) -> Seed:
    try:
        return _packed_scene(adapter, path, scene, files, name, wishes)
    except BaseException:
        if scene.scratch is not None:
            shutil.rmtree(scene.scratch, ignore_errors=True)
        raise


def _packed_scene(
    adapter: Renderer, path: Path, scene: Scene, files: Mapping[str, Path], name: str, wishes: Wishes
) -> Seed:
    for note in scene.notes:
        log.warning("%s", note)
    frames = wishes.frames or scene.frames
    if frames is None:
        raise FrameRangeError(
            f"'{path.name}' does not say which frames to render: give them, for example --frames 1-24 "
            "(or --frames 1 for a single picture)"
        )
    spec = JobSpec(
        name=_printable(name) or adapter.name,
        renderer=adapter.name,
        frames=check_count(frames),
        width=scene.width,
        height=scene.height,
        settings=dict(scene.settings),
    )
    spec = wishes.over(spec)
    check_works(spec)
    needed = {(scene.root / one).relative_to(scene.root).as_posix(): scene.root / one for one in scene.files}
    needed |= {place.as_posix(): file for place, file in scene.placed.items()}
    seed = _checked(spec, {**files, **needed, FILE_NAME: write_jobfile(spec)})
    return replace(seed, scratch=scene.scratch)


def _printable(name: str) -> str:
    return "".join(char for char in name if char.isprintable())[: words.LONGEST_NAME].strip()


def _checked(spec: JobSpec, files: Mapping[str, Path | bytes]) -> Seed:
    paths = PathSet()
    for path in sorted(files):
        try:
            paths.add_file(path)
        except PathError as error:
            raise SceneError(f"the job can not be packed: {error}") from error
        if path.endswith(f"/{FILE_NAME}"):
            raise SceneError(f"there is a second {FILE_NAME}, in '{path}': a job has one, at its root")
    return Seed(spec=spec, files=dict(files))


def blob_of(source: Path | bytes) -> Blob:
    """The blob that a file or some bytes are. Raises SceneError for a file that can not be read."""
    if isinstance(source, bytes):
        return Blob(digest=hashlib.sha256(source).hexdigest(), size=len(source))
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Blob(digest=digest, size=file.tell())
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(path: Path, error: OSError) -> SceneError:
    return SceneError(f"'{path}' can not be read: {error.strerror or error}")
