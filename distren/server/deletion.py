"""Deletes jobs: at once for everybody who asks, and bit by bit from the database, so that nobody waits meanwhile."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from distren.domain.states import JOB_ENDED
from distren.errors import Conflict
from distren.server.lifecycle import Lifecycle
from distren.storage import dependencies, sweep
from distren.storage import jobs as job_rows

_FRAMES = 5_000
"""that a turn removes with all that belongs to them: some 0.1 s"""


def delete(
    connection: Connection, lifecycle: Lifecycle, job: int, *, force: bool, now: float, arriving: Collection[int] = ()
) -> None:
    """Delete a job that has ended, or with `force` any. Raises NotFound, and Conflict while it is needed.

    `arriving`: the jobs that are coming in now, which may need it too.
    """
    record = lifecycle.job(job)
    if record.state not in JOB_ENDED and not force:
        raise Conflict(f"job {job} is {record.state}: cancel it first, or delete it with --force")
    needing = dependencies.open_job_needing(connection, job, arriving)
    if needing is not None:
        raise Conflict(f"job {needing} needs frames of job {job}: delete that one first, or let it end")
    lifecycle.call_off(job)
    job_rows.mark_deleted(connection, job, now)


def remove_some(connection: Connection, arriving: Collection[int] = ()) -> bool:
    """Remove a part of what is left of deleted jobs, and of those that came in half; whether there is more.

    `arriving`: the jobs that are coming in now.
    """
    job = sweep.deleted_job(connection, arriving)
    if job is None:
        return False
    if not sweep.remove_frames(connection, job, _FRAMES):
        sweep.remove_job(connection, job)
    return True
