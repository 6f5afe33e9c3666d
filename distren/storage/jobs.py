"""Jobs in the database: their records as values, and the queries about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, text, update

from distren.domain.groups import Work
from distren.domain.job import Blob
from distren.domain.progress import Counts
from distren.domain.states import JOB_ENDED, FrameState, JobState
from distren.storage import groups
from distren.storage.tables import far_jobs, guests, jobs


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job's record. Times are seconds since 1970, UTC; limits are seconds and bytes.

    `lanes` are the capabilities that its frames need (as a rule, renderers): a frame's lane counts in this list.
    `needed`: frames, of this job or of others, need frames of this job. `next_file` is the next file id to be given.
    `deleted`: it is being removed, and nobody may see it any more.
    """

    id: int
    key: str
    name: str
    pool: str
    priority: int
    state: JobState
    width: int | None
    height: int | None
    first: int
    last: int
    work: Work
    lanes: tuple[str, ...]
    time_limit: float
    silence_limit: float | None
    memory_limit: int | None
    output_limit: int | None
    attempts: int
    manifest: Blob
    counts: Counts
    created: float
    ended: float | None
    needed: bool = False
    next_file: int = 0
    deleted: bool = False

    @property
    def renderer(self) -> str:
        """The renderer of the frames that name no other one."""
        return self.work.renderer


# Made once: each turn of a server asks these, and to make one takes as long as to have it answered.
_BY_ID = select(jobs).where(jobs.c.id == bindparam("of_id"))
_IN_TURN = (
    select(jobs)
    .outerjoin(guests, guests.c.job == jobs.c.id)
    .where(jobs.c.state == JobState.ACTIVE, jobs.c.deleted.is_(None))
    .order_by(guests.c.job.is_not(None), jobs.c.priority.desc(), jobs.c.id)
)
_SET_COUNTS = (
    update(jobs)
    .where(jobs.c.id == bindparam("of_id"))
    .values(counts=bindparam("counts"), next_file=bindparam("next_file"))
)


def by_id(connection: Connection, job: int) -> Job | None:
    """The job, even one that is being deleted."""
    row = connection.execute(_BY_ID, {"of_id": job}).one_or_none()
    return None if row is None else _job(row)


def by_key(connection: Connection, key: str) -> Job | None:
    """The job that a client submitted under this key."""
    row = connection.execute(select(jobs).where(jobs.c.key == key)).one_or_none()
    return None if row is None else _job(row)


def newest(connection: Connection, *, before: int | None, limit: int) -> list[Job]:
    """The newest jobs first; those below the id `before` where that is given."""
    query = select(jobs).where(jobs.c.deleted.is_(None), jobs.c.id.not_in(select(far_jobs.c.job)))
    query = query.order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_job(row) for row in connection.execute(query)]


def open_jobs(connection: Connection) -> list[Job]:
    """The jobs that have not ended, oldest first."""
    query = select(jobs).where(jobs.c.state.not_in(JOB_ENDED)).order_by(jobs.c.id)
    return [_job(row) for row in connection.execute(query)]


def last_number(connection: Connection) -> int:
    """The last number that a job was given here, also where that job is deleted; 0 where there was none."""
    if connection.dialect.name == "sqlite":
        last = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")).scalar()
    else:
        last = connection.execute(text("SELECT pg_sequence_last_value(pg_get_serial_sequence('jobs', 'id'))")).scalar()
    return int(last or 0)


def start_above(connection: Connection, number: int) -> None:
    """The next job gets a number above this one."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = 'jobs'"))
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', :number)"), {"number": number})
    else:
        connection.execute(text("SELECT setval(pg_get_serial_sequence('jobs', 'id'), :number)"), {"number": number})


def in_turn(connection: Connection) -> list[Job]:
    """The active jobs in the order in which they are rendered: by priority, then by age; those of peers come last."""
    return [_job(row) for row in connection.execute(_IN_TURN)]


def set_counts(connection: Connection, job: int, counts: Counts, *, next_file: int) -> None:
    stored = {str(state): count for state, count in counts.by_state.items() if count}
    connection.execute(_SET_COUNTS, {"of_id": job, "counts": stored, "next_file": next_file})


def set_state(connection: Connection, job: int, state: JobState, ended: float | None) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(state=state, ended=ended))


def mark_deleted(connection: Connection, job: int, now: float) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(deleted=now))


def set_priority(connection: Connection, job: int, priority: int) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(priority=priority))


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        key=row.key,
        name=row.name,
        pool=row.pool,
        priority=row.priority,
        state=JobState(row.state),
        width=row.width,
        height=row.height,
        first=row.first,
        last=row.last,
        work=Work(
            renderer=row.renderer,
            settings=row.settings,
            content=tuple(row.content),
            outputs=groups.outputs_read(row.outputs),
        ),
        lanes=tuple(row.lanes) or (row.renderer,),
        time_limit=row.time_limit,
        silence_limit=row.silence_limit,
        memory_limit=row.memory_limit,
        output_limit=row.output_limit,
        attempts=row.attempts,
        manifest=Blob(digest=row.manifest, size=row.manifest_size),
        counts=Counts({FrameState(state): count for state, count in row.counts.items()}),
        created=row.created,
        ended=row.ended,
        needed=bool(row.needed),
        next_file=row.next_file,
        deleted=row.deleted is not None,
    )
