"""Jobs in the database: their records as values, and the queries about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from distren.domain.job import Blob, InputFile, JobSpec
from distren.domain.progress import Counts
from distren.domain.states import FrameState, JobState
from distren.storage import dependencies
from distren.storage.tables import files, frames, jobs

_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job's record. Times are seconds since 1970, UTC; `time_limit` is in seconds.

    `needed`: frames, of this job or of others, need frames of this job.
    """

    id: int
    key: str
    name: str
    renderer: str
    pool: str
    priority: int
    state: JobState
    width: int | None
    height: int | None
    first: int
    last: int
    settings: Mapping[str, str]
    time_limit: float
    attempts: int
    manifest: Blob
    counts: Counts
    created: float
    ended: float | None
    needed: bool = False


def add(
    connection: Connection, spec: JobSpec, *, key: str, manifest: Blob, inputs: Iterable[InputFile], now: float
) -> int:
    """Write a job with its files and frames, ready or blocked; returns its id.

    Raises NotFound where a frame needs one that is not there.
    """
    result = connection.execute(
        insert(jobs).values(
            key=key,
            name=spec.name,
            renderer=spec.renderer,
            pool=spec.pool,
            priority=spec.priority,
            state=JobState.ACTIVE,
            width=spec.width,
            height=spec.height,
            first=spec.frames.first,
            last=spec.frames.last,
            settings=dict(spec.settings),
            time_limit=spec.limits.time.total_seconds(),
            attempts=spec.limits.attempts,
            manifest=manifest.digest,
            manifest_size=manifest.size,
            counts={},
            created=now,
        )
    )
    assert result.inserted_primary_key is not None
    job: int = result.inserted_primary_key[0]
    _add_files(connection, job, inputs)
    total = _add_frames(connection, job, spec)
    blocked = dependencies.add(connection, job, spec.needs) if spec.needs else 0
    set_counts(connection, job, Counts({FrameState.READY: total - blocked, FrameState.BLOCKED: blocked}))
    return job


def _add_files(connection: Connection, job: int, inputs: Iterable[InputFile]) -> None:
    rows = [
        {
            "job": job,
            "id": number,
            "kind": "input",
            "path": file.path,
            "digest": file.blob.digest,
            "size": file.blob.size,
        }
        for number, file in enumerate(inputs)
    ]
    for start in range(0, len(rows), _ROWS):
        connection.execute(insert(files), rows[start : start + _ROWS])


def _add_frames(connection: Connection, job: int, spec: JobSpec) -> int:
    fresh = {"job": job, "state": FrameState.READY, "issue": 0, "failures": 0, "attempts": 0, "not_before": 0.0}
    rows: list[dict[str, Any]] = []
    total = 0
    for frame in spec.frames:
        rows.append({**fresh, "id": frame})
        if len(rows) == _ROWS:
            connection.execute(insert(frames), rows)
            total, rows = total + len(rows), []
    if rows:
        connection.execute(insert(frames), rows)
    return total + len(rows)


def by_id(connection: Connection, job: int) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job)).one_or_none()
    return None if row is None else _job(row)


def by_key(connection: Connection, key: str) -> Job | None:
    """The job that a client submitted under this key."""
    row = connection.execute(select(jobs).where(jobs.c.key == key)).one_or_none()
    return None if row is None else _job(row)


def newest(connection: Connection, *, before: int | None, limit: int) -> list[Job]:
    """The newest jobs first; those below the id `before` where that is given."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_job(row) for row in connection.execute(query)]


def in_turn(connection: Connection) -> list[Job]:
    """The active jobs in the order in which they are rendered: by priority, then by age."""
    query = select(jobs).where(jobs.c.state == JobState.ACTIVE).order_by(jobs.c.priority.desc(), jobs.c.id)
    return [_job(row) for row in connection.execute(query)]


def set_counts(connection: Connection, job: int, counts: Counts) -> None:
    stored = {str(state): count for state, count in counts.by_state.items() if count}
    connection.execute(update(jobs).where(jobs.c.id == job).values(counts=stored))


def set_state(connection: Connection, job: int, state: JobState, ended: float | None) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(state=state, ended=ended))


def set_priority(connection: Connection, job: int, priority: int) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job).values(priority=priority))


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        key=row.key,
        name=row.name,
        renderer=row.renderer,
        pool=row.pool,
        priority=row.priority,
        state=JobState(row.state),
        width=row.width,
        height=row.height,
        first=row.first,
        last=row.last,
        settings=row.settings,
        time_limit=row.time_limit,
        attempts=row.attempts,
        manifest=Blob(digest=row.manifest, size=row.manifest_size),
        counts=Counts({FrameState(state): count for state, count in row.counts.items()}),
        created=row.created,
        ended=row.ended,
        needed=bool(row.needed),
    )
