"""The files of jobs in the database: each has an id in its job, given when the job is recorded and never again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from distren.domain.job import Blob
from distren.storage.tables import files


@dataclass(frozen=True, kw_only=True)
class File:
    """A file's record: `id` in its job, `kind` (`input`), path in the seed."""

    id: int
    kind: str
    path: str
    blob: Blob


def of_job(connection: Connection, job: int, *, after: int, limit: int) -> list[File]:
    """The files of a job by id, those above `after`."""
    query = select(files).where(files.c.job == job, files.c.id > after).order_by(files.c.id).limit(limit)
    return [
        File(id=row.id, kind=row.kind, path=row.path, blob=Blob(digest=row.digest, size=row.size))
        for row in connection.execute(query)
    ]
