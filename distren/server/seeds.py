"""Reads a seed out of the blob store: validates everything before it believes anything.

Imports no database, which the process that examines seeds (`examination.py`) does without.
"""

from __future__ import annotations

from dataclasses import dataclass

from distren.domain.job import Blob, InputFile, JobSpec
from distren.errors import InputError, JobFileError, NotFound
from distren.jobfile.manifest import read_manifest
from distren.jobfile.reader import read_jobfile
from distren.jobfile.scan import JobFileLimits
from distren.jobfile.words import FILE_NAME
from distren.limits import Limits
from distren.renderers.work import check_works
from distren.storage.blobstore import BlobStore
from distren.tarballs.limits import TarLimits
from distren.wire.codec import LARGEST_MESSAGE


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A job as it was sent, and found to be good."""

    spec: JobSpec
    manifest: Blob
    inputs: tuple[InputFile, ...]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a seed can not be used: the name of an error of `distren.errors`, and its line."""

    error: str
    text: str


def read_seed(store: BlobStore, manifest: Blob, limits: Limits = Limits()) -> Seed:  # noqa: B008 (it is frozen)
    """The job that a manifest describes, out of the store. Raises InputError's kin and NotFound (not uploaded)."""
    data = read_blob(store, manifest, "the manifest", LARGEST_MESSAGE)
    inputs = read_manifest(data, TarLimits.of(limits), limits.jobfile_bytes)
    for file in inputs:
        size = store.size(file.blob.digest)
        if size is None:
            raise NotFound(f"the file '{file.path}' was not uploaded: submit the job again")
        if size != file.blob.size:
            raise JobFileError(
                f"the seed can not be used: '{file.path}' has {size} bytes, and the list of its files says "
                f"{file.blob.size}"
            )
    job_file = next(file for file in inputs if file.path == FILE_NAME)
    spec = read_jobfile(read_blob(store, job_file.blob, FILE_NAME, limits.jobfile_bytes), JobFileLimits.of(limits))
    if (count := sum(map(len, spec.every.ranges))) > limits.frames:
        raise JobFileError(f"{FILE_NAME} names {count} frames, above the limit of {limits.frames} of this server")
    check_works(spec)
    return Seed(spec=spec, manifest=manifest, inputs=inputs)


def read_blob(store: BlobStore, blob: Blob, what: str, largest: int) -> bytes:
    if not store.has(blob.digest):
        raise NotFound(f"{what} was not uploaded: submit the job again")
    path = store.path(blob.digest)
    if path.stat().st_size > largest:
        raise InputError(f"{what} is larger than the limit of {largest} bytes")
    return path.read_bytes()
