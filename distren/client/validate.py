"""Looks for everything that is wrong with a job file or a seed, without handing it in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from distren.client.folder import gather
from distren.domain.groups import Work
from distren.domain.job import JobSpec
from distren.errors import InputError, JobFileError, SceneError
from distren.jobfile import scan
from distren.jobfile.reader import find_problems, places_of_settings, read_jobfile
from distren.jobfile.words import FILE_NAME
from distren.renderers import registry
from distren.renderers.protocol import Renderer
from distren.renderers.work import check_work, works
from distren.tarballs.paths import PathError, PathSet
from distren.tarballs.reader import unpack


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something wrong in `file` (a path in the seed, or the source itself); line and column count from 1."""

    file: str
    text: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = "" if self.line is None else f", line {self.line}"
        place += "" if self.column is None else f", column {self.column}"
        return f"{self.file}{place}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What was found: the job where its file is good, the number of files looked at, and all that is wrong."""

    spec: JobSpec | None
    files: int
    findings: tuple[Finding, ...]


def validate(source: Path) -> Validation:
    """Look at a distrenjob.xml by itself, or at a folder or a tarball with all files of a job.

    Raises SceneError where there is nothing to look at, and OutputError where a tarball can not be unpacked.
    """
    if source.is_dir():
        return _folder(source, str(source), hidden=False)
    if not source.is_file():
        raise SceneError(f"there is no '{source}': name a {FILE_NAME}, a folder or a tarball of a job")
    if source.name == FILE_NAME or source.suffix.lower() == ".xml":
        spec, findings = _job_file(source, str(source))
        return Validation(spec=spec, files=1, findings=tuple(findings))
    return _tarball(source)


def _tarball(source: Path) -> Validation:
    with tempfile.TemporaryDirectory(prefix="distren-validate-") as folder:
        seed = Path(folder) / "seed"
        try:
            unpack(source, seed)
        except InputError as error:
            text = str(error).removeprefix(f"{source}: ")
            return Validation(spec=None, files=0, findings=(Finding(file=str(source), text=text),))
        return _folder(seed, str(source), hidden=True)


def _folder(folder: Path, shown: str, *, hidden: bool) -> Validation:
    try:
        files = gather(folder, hidden=hidden)
    except SceneError as error:
        return Validation(spec=None, files=0, findings=(Finding(file=shown, text=str(error)),))
    findings = list(_wrong_paths(files))
    spec: JobSpec | None = None
    if FILE_NAME in files:
        spec, found = _job_file(files[FILE_NAME], FILE_NAME)
        findings += found
    else:
        text = f"it has no {FILE_NAME} at its root: write one, or make the job with 'distren pack SCENE -o job.tar'"
        findings.append(Finding(file=shown, text=text))
    if spec is not None:
        findings += dict.fromkeys(_missing_files(spec, folder, files))
    return Validation(spec=spec, files=len(files), findings=tuple(findings))


def _wrong_paths(files: Mapping[str, Path]) -> Iterator[Finding]:
    paths = PathSet()
    for path in sorted(files):
        try:
            paths.add_file(path)
        except PathError as error:
            yield Finding(file=path, text=str(error))
        if path.endswith(f"/{FILE_NAME}"):
            yield Finding(file=path, text=f"a job has one {FILE_NAME}, at its root: delete or rename this one")


def _job_file(path: Path, shown: str) -> tuple[JobSpec | None, list[Finding]]:
    """The job, where the file says one, and what is wrong, the renderer's own check of its settings included."""
    try:
        with path.open("rb") as file:
            data = file.read(scan.DEFAULT_LIMITS.bytes + 1)
    except OSError as error:
        return None, [Finding(file=shown, text=f"it can not be read: {error.strerror or error}")]
    if problems := find_problems(data):
        return None, [Finding(file=shown, line=one.line, column=one.column, text=one.text) for one in problems]
    spec, places = read_jobfile(data), places_of_settings(data)
    found: list[Finding] = []
    unknown = [name for name in spec.renderers if name not in registry.installed()]
    for name in unknown:
        known = ", ".join(sorted(registry.installed()))
        text = f"no renderer is called '{name}' here (there are: {known}): its settings are not checked"
        found.append(Finding(file=shown, line=1, text=text))
    for group, work in works(spec):
        if work.renderer not in unknown:
            line, column = places[group]
            refused = _refused(registry.installed()[work.renderer], work)
            found += [Finding(file=shown, line=line, column=column, text=text) for text in refused]
    return spec, found


def _refused(adapter: Renderer, work: Work) -> Iterator[str]:
    """What the renderer says against the settings: it names one at a time, so what it names is taken out."""
    settings = dict(work.settings)
    while (text := _refusal(adapter, replace(work, settings=settings, content=()))) is not None:
        yield text
        without = ({key: value for key, value in settings.items() if key != one} for one in settings)
        better = next(
            (rest for rest in without if _refusal(adapter, replace(work, settings=rest, content=())) != text), None
        )
        if better is None:
            break
        settings = better
    if (text := _refusal(adapter, replace(work, settings=settings))) is not None and work.content:
        yield text


def _refusal(adapter: Renderer, work: Work) -> str | None:
    try:
        check_work(adapter, work)
    except JobFileError as error:
        return str(error)
    return None


def _missing_files(spec: JobSpec, folder: Path, files: Mapping[str, Path]) -> Iterator[Finding]:
    """Scenes that the settings name and the seed lacks, and what those that it holds look for in vain."""
    seen: set[tuple[str, str]] = set()
    for _, work in works(spec):
        adapter = registry.installed().get(work.renderer)
        named = {(work.renderer, value) for value in work.settings.values()}
        if adapter is not None and not named <= seen:
            seen |= named
            yield from _missing_of(adapter, work.settings, folder, files)


def _missing_of(
    adapter: Renderer, settings: Mapping[str, str], folder: Path, files: Mapping[str, Path]
) -> Iterator[Finding]:
    more_folders = any(_is_folder(part, files) for value in settings.values() for part in value.split(":"))
    for key, value in settings.items():
        if not adapter.accepts(Path(value)):
            continue
        if value not in files:
            yield Finding(
                file=FILE_NAME, text=f"{key} names '{value}', which is not in the seed: add it, or correct it"
            )
        elif not more_folders:  # what the settings add to the search is known to the renderer alone
            try:
                scene = adapter.read_scene(folder / value, settings)
                if scene.scratch is not None:
                    shutil.rmtree(scene.scratch, ignore_errors=True)
            except SceneError as error:
                yield Finding(file=value, text=str(error))


def _is_folder(text: str, files: Mapping[str, Path]) -> bool:
    return any(path.startswith(f"{text.rstrip('/')}/") for path in files)
