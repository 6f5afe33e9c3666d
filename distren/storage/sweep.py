"""Removes what is left of deleted jobs from the database, a part at a time."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, func, select

from distren.storage.tables import attempts, dependencies, frames, jobs


def deleted_job(connection: Connection, but: Collection[int]) -> int | None:
    """A job that has been deleted, and whose rows are still there; none of `but`."""
    query = select(jobs.c.id).where(jobs.c.deleted.is_not(None), jobs.c.id.not_in(but))
    job: int | None = connection.execute(query.order_by(jobs.c.id).limit(1)).scalar()
    return job


def remove_frames(connection: Connection, job: int, limit: int) -> bool:
    """Remove up to `limit` frames of a job, with their attempts and dependencies; False where none is left."""
    some = select(frames.c.id).where(frames.c.job == job).order_by(frames.c.id).limit(limit).subquery()
    last: int | None = connection.execute(select(func.max(some.c.id))).scalar()
    if last is None:
        return False
    connection.execute(delete(attempts).where(attempts.c.job == job, attempts.c.frame <= last))
    connection.execute(delete(dependencies).where(dependencies.c.job == job, dependencies.c.frame <= last))
    connection.execute(delete(frames).where(frames.c.job == job, frames.c.id <= last))
    return True


def remove_job(connection: Connection, job: int) -> None:
    """Remove a job that has no frames any more, with its files and groups."""
    connection.execute(delete(jobs).where(jobs.c.id == job))
