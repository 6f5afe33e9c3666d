"""The files of jobs in the database: each has an id in its job, given once and never again.

The inputs have the first ids, the bundle the one after them. Each attempt takes two when the server first hears of it,
one for its result and one for its log, so that a result that is replaced by a later one keeps its id (decision 006).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from distren.domain.job import Blob
from distren.storage.tables import attempts, files

_ATTEMPTS = 200
"""read at a time: each may bring a log of up to a megabyte"""
_LOGS = 16 * 2**20
"""bytes of packed logs that one page reads at most"""
_LONGEST_LOG = 64 * 2**20
"""bytes; a log that unpacks to more is cut"""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file's record: `id` in its job, kind, path, and the blob: None for a bundle, which is made when it is fetched.

    The kinds are `input`, `bundle`, `output` (a frame tarball) and `log`; the last two are of an attempt (its number)
    at a frame.
    """

    id: int
    kind: str
    path: str
    blob: Blob | None
    frame: int | None = None
    attempt: int | None = None


def of_job(connection: Connection, job: int, *, after: int, limit: int) -> tuple[list[File], bool]:
    """The files of a job by id, those above `after`, and whether there are more; perhaps fewer than `limit`."""
    found = _inputs(connection, job, after, limit)
    bundle = _bundle(connection, job)
    if len(found) < limit and bundle.id > after:
        found.append(bundle)
    read = 0
    pages = _attempts(connection, job, after)
    for row in pages:
        for file in _of_attempt(row):
            if file.id > after and len(found) < limit:
                found.append(file)
            elif file.id > after:
                return found, True
        read += len(row.log or b"")
        if read > _LOGS:
            return found, next(pages, None) is not None
    return found, False


def _inputs(connection: Connection, job: int, after: int, limit: int) -> list[File]:
    query = select(files).where(files.c.job == job, files.c.id > after).order_by(files.c.id).limit(limit)
    return [
        File(id=row.id, kind=row.kind, path=row.path, blob=Blob(digest=row.digest, size=row.size))
        for row in connection.execute(query)
    ]


def _bundle(connection: Connection, job: int) -> File:
    last: int | None = connection.execute(select(func.max(files.c.id)).where(files.c.job == job)).scalar()
    return File(id=0 if last is None else last + 1, kind="bundle", path="bundle.tar", blob=None)


def _attempts(connection: Connection, job: int, after: int) -> Iterator[Any]:
    """The attempts whose files have ids above `after`, in the order of these."""
    columns = (attempts.c.frame, attempts.c.number, attempts.c.file, attempts.c.result, attempts.c.result_size)
    least = after - 1  # the log's id is one more than the result's
    while True:
        query = (
            select(*columns, attempts.c.log)
            .where(attempts.c.job == job, attempts.c.file > least)
            .where(or_(attempts.c.result.is_not(None), attempts.c.log.is_not(None)))
            .order_by(attempts.c.file)
            .limit(_ATTEMPTS)
        )
        page = connection.execute(query).all()
        yield from page
        if len(page) < _ATTEMPTS:
            return
        least = page[-1].file


def _of_attempt(row: Any) -> Iterator[File]:
    path = f"frames/frame-{row.frame}-{row.number}"
    about: dict[str, int] = {"frame": row.frame, "attempt": row.number}
    if row.result is not None:
        blob = Blob(digest=row.result, size=row.result_size)
        yield File(id=row.file, kind="output", path=f"{path}.tar", blob=blob, **about)
    if row.log is not None:
        text = log_text(row.log)
        blob = Blob(digest=hashlib.sha256(text).hexdigest(), size=len(text))
        yield File(id=row.file + 1, kind="log", path=f"{path}.log", blob=blob, **about)


def log_text(packed: bytes) -> bytes:
    """What a log says; what is damaged is left out, and what is too long."""
    try:
        return zlib.decompressobj().decompress(packed, _LONGEST_LOG)
    except zlib.error:
        return b""
