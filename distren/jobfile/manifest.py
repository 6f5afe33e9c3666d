"""The manifest of a seed, written by a client and read by a server that believes nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

from distren.domain.job import Blob, InputFile
from distren.errors import DecodeError, DistrenError, JobFileError
from distren.jobfile import scan
from distren.jobfile.words import FILE_NAME
from distren.tarballs.limits import DEFAULT_LIMITS, TarLimits
from distren.tarballs.paths import PathError, PathSet, shown
from distren.wire.jobs import Manifest, ManifestFile


def write_manifest(files: Iterable[InputFile]) -> bytes:
    """The manifest of these files, in the order of their paths; raises JobFileError where there are too many."""
    ordered = sorted(files, key=lambda file: file.path)
    listed = [ManifestFile(path=file.path, digest=file.blob.digest, size=file.blob.size) for file in ordered]
    try:
        return Manifest(files=listed).encode()
    except DistrenError as error:
        raise _wrong(f"it has {len(ordered)} files ({error}): leave out what the renderer does not read") from error


def read_manifest(
    data: bytes, limits: TarLimits = DEFAULT_LIMITS, jobfile_bytes: int = scan.DEFAULT_LIMITS.bytes
) -> tuple[InputFile, ...]:
    """The files of a seed: safe paths, none twice, within `limits`, one of them distrenjob.xml at the root.

    Raises JobFileError that says what is wrong.
    """
    try:
        listed = Manifest.expect(data).files
    except DecodeError as error:
        raise JobFileError(f"the list of the seed's files can not be read: {error}") from error
    files = tuple(InputFile(path=file.path, blob=Blob(digest=file.digest, size=file.size)) for file in listed)
    check_files(files, limits, jobfile_bytes)
    return files


def check_files(
    files: Iterable[InputFile],
    limits: TarLimits = DEFAULT_LIMITS,
    jobfile_bytes: int = scan.DEFAULT_LIMITS.bytes,
) -> None:
    """Raise JobFileError unless these files can be a seed."""
    paths = PathSet(limits.path_bytes)
    sizes: dict[str, int] = {}
    job_file: InputFile | None = None
    count = total = 0
    for file in files:
        count, total = count + 1, total + file.blob.size
        _check_file(file, paths, limits)
        if sizes.setdefault(file.blob.digest, file.blob.size) != file.blob.size:
            raise _wrong(f"{shown(file.path)} has the digest of another file, and another size")
        if file.path.rpartition("/")[2] == FILE_NAME:
            job_file = _the_only(job_file, file, jobfile_bytes)
    if count > limits.members:
        raise _wrong(f"it has {count} files, above the limit of {limits.members}")
    if total > limits.total_bytes:
        raise _wrong(f"its files have {total} bytes, above the limit of {limits.total_bytes}")
    if job_file is None:
        raise _wrong(f"it has no {FILE_NAME} at its root")


def _check_file(file: InputFile, paths: PathSet, limits: TarLimits) -> None:
    try:
        paths.add_file(file.path)
    except PathError as error:
        raise _wrong(str(error)) from error
    if file.blob.size > limits.member_bytes:
        raise _wrong(f"{shown(file.path)} has {file.blob.size} bytes, above the limit of {limits.member_bytes}")


def _the_only(earlier: InputFile | None, file: InputFile, largest: int) -> InputFile:
    """`file`, if it is the one distrenjob.xml that a seed has."""
    if file.path != FILE_NAME or earlier is not None:
        raise _wrong(f"it has {shown(file.path)}: a seed has one {FILE_NAME}, at its root")
    if file.blob.size > largest:
        raise _wrong(f"its {FILE_NAME} has {file.blob.size} bytes, above the limit of {largest}")
    return file


def _wrong(text: str) -> JobFileError:
    return JobFileError(f"the seed can not be used: {text}")
