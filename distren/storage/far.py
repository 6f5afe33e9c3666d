"""Frames of peers that ours need, as frames of jobs that stand for theirs; and frames of ours that theirs need."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, insert, select, update

from distren.domain.job import Blob
from distren.domain.states import FrameState, JobState
from distren.storage import guests
from distren.storage.dependencies import Key
from distren.storage.tables import dependencies, far_jobs, frames, jobs, watches

_AT_ONCE = 5_000  # well below the number of parameters that a statement may have


@dataclass(frozen=True, kw_only=True)
class FarJob:
    """`job` stands for the job `of_job` of `peer`."""

    job: int
    peer: str
    of_job: int


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A frame of ours that a peer watches; `state` is None where it is not there. `told` is what the peer knows."""

    peer: str
    job: int
    frame: int
    told: str | None
    state: FrameState | None
    result: Blob | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """A frame of a peer, in the job that stands for the peer's, that ours have waited for since `since` (seconds)."""

    job: int
    frame: int
    peer: str
    since: float
    reason: str | None


def every(connection: Connection) -> dict[int, FarJob]:
    """The jobs that stand for those of peers, by their own ids."""
    return {row.job: FarJob(**row._mapping) for row in connection.execute(select(far_jobs))}


def find(connection: Connection, peer: str, of_job: int) -> FarJob | None:
    chosen = far_jobs.c.peer == peer, far_jobs.c.of_job == of_job
    row = connection.execute(select(far_jobs).where(*chosen)).first()
    return None if row is None else FarJob(**row._mapping)


def enter(connection: Connection, peer: str, of_job: int, ids: Iterable[int], now: float) -> tuple[FarJob, list[int]]:
    """The job that stands for a peer's, with these frames in it; and those that it did not have yet."""
    far = find(connection, peer, of_job) or _add(connection, peer, of_job, now)
    wanted = sorted(set(ids))
    known: set[int] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        query = select(frames.c.id).where(frames.c.job == far.job, frames.c.id.in_(part))
        known.update(connection.execute(query).scalars())
    new = [number for number in wanted if number not in known]
    guests.add_frames(connection, far.job, new)
    return far, new


def _add(connection: Connection, peer: str, of_job: int, now: float) -> FarJob:
    """No worker is of such a pool: its frames are ready and never issued."""
    place = f"distren://{peer}/{of_job}"
    result = connection.execute(
        insert(jobs).values(
            key=secrets.token_hex(16),
            name=place,
            renderer="elsewhere",
            pool=place,
            priority=0,
            state=JobState.PAUSED,
            first=0,
            last=0,
            settings={},
            time_limit=1.0,
            attempts=1,
            manifest="0" * 64,
            manifest_size=0,
            counts={},
            created=now,
        )
    )
    assert result.inserted_primary_key is not None
    job: int = result.inserted_primary_key[0]
    connection.execute(insert(far_jobs).values(job=job, peer=peer, of_job=of_job))
    return FarJob(job=job, peer=peer, of_job=of_job)


def frames_of(connection: Connection, far: FarJob) -> list[int]:
    """The frames of a peer's job that ours need."""
    return list(connection.execute(select(frames.c.id).where(frames.c.job == far.job)).scalars())


def note(connection: Connection, job: int, frame: int, reason: str | None, heard: float | None) -> None:
    """What is known of a peer's frame that ours wait for; `heard`: when it was last said to be under way."""
    chosen = frames.c.job == job, frames.c.id == frame, frames.c.state == FrameState.READY
    values = {"reason": reason} if heard is None else {"reason": reason, "started": heard}
    connection.execute(update(frames).where(*chosen).values(values))


def overdue(connection: Connection, now: float, before: float) -> list[Overdue]:
    """The frames of peers that have been waited for since before `before`; for new ones the waiting begins."""
    of_peers = frames.c.job.in_(select(far_jobs.c.job)), frames.c.state == FrameState.READY
    connection.execute(update(frames).where(*of_peers, frames.c.started.is_(None)).values(started=now))
    query = select(frames.c.job, frames.c.id, far_jobs.c.peer, frames.c.started, frames.c.reason)
    query = query.join(far_jobs, far_jobs.c.job == frames.c.job).where(*of_peers, frames.c.started < before)
    return [
        Overdue(job=row.job, frame=row.id, peer=row.peer, since=row.started, reason=row.reason)
        for row in connection.execute(query)
    ]


def notes(connection: Connection) -> dict[Key, str]:
    """What is known of the peers' frames that ours wait for, where there is something to say."""
    of_peers = frames.c.job.in_(select(far_jobs.c.job)), frames.c.state == FrameState.READY
    query = select(frames.c.job, frames.c.id, frames.c.reason).where(*of_peers, frames.c.reason.is_not(None))
    return {(row.job, row.id): row.reason for row in connection.execute(query)}


def reason_of(connection: Connection, key: Key) -> str | None:
    chosen = frames.c.job == key[0], frames.c.id == key[1]
    found: str | None = connection.execute(select(frames.c.reason).where(*chosen)).scalar()
    return found


def waited_for(connection: Connection, key: Key) -> set[Key]:
    """All frames that this one waits for, directly or through others that wait."""
    columns = (dependencies.c.of_job, dependencies.c.of_frame)
    waiting = and_(frames.c.job == dependencies.c.job, frames.c.id == dependencies.c.frame)
    blocked = frames.c.state == FrameState.BLOCKED
    walk = (
        select(*columns)
        .join(frames, waiting)
        .where(dependencies.c.job == key[0], dependencies.c.frame == key[1], blocked)
        .cte("walk", recursive=True)
    )
    further = select(*columns).select_from(walk)
    further = further.join(
        dependencies, and_(dependencies.c.job == walk.c.of_job, dependencies.c.frame == walk.c.of_frame)
    )
    walk = walk.union(further.join(frames, waiting).where(blocked))
    return {(job, frame) for job, frame in connection.execute(select(walk))}


def unneeded(connection: Connection) -> list[FarJob]:
    """Those that stand for jobs of which nothing here needs a frame any more."""
    query = select(far_jobs).where(far_jobs.c.job.not_in(select(dependencies.c.of_job)))
    return [FarJob(**row._mapping) for row in connection.execute(query)]


def forget(connection: Connection, far: FarJob) -> None:
    for table in (far_jobs, frames):
        connection.execute(delete(table).where(table.c.job == far.job))
    connection.execute(delete(jobs).where(jobs.c.id == far.job))


# -- ours that others watch -------------------------------------------------------------------------------------------


def watch(connection: Connection, peer: str, job: int, ids: Collection[int]) -> None:
    """A peer wants to be told of these frames; of those that it watches already it is told again."""
    connection.execute(
        delete(watches).where(watches.c.peer == peer, watches.c.job == job, watches.c.frame.in_(list(ids)))
    )
    if ids:
        connection.execute(insert(watches), [{"peer": peer, "job": job, "frame": number} for number in set(ids)])


def unwatch(connection: Connection, peer: str, job: int) -> None:
    """A peer wants to hear no more of a job."""
    connection.execute(delete(watches).where(watches.c.peer == peer, watches.c.job == job))


def watched(connection: Connection) -> list[Watched]:
    """All frames that peers watch."""
    is_frame = and_(frames.c.job == watches.c.job, frames.c.id == watches.c.frame)
    is_there = and_(jobs.c.id == watches.c.job, jobs.c.deleted.is_(None))
    query = (
        select(watches, frames.c.state, frames.c.result, frames.c.result_size, frames.c.reason, jobs.c.id)
        .outerjoin_from(watches, frames, is_frame)
        .outerjoin(jobs, is_there)
    )
    return [
        Watched(
            peer=row.peer,
            job=row.job,
            frame=row.frame,
            told=row.told,
            state=None if row.state is None or row.id is None else FrameState(row.state),
            result=None if row.result is None else Blob(digest=row.result, size=row.result_size),
            reason=row.reason,
        )
        for row in connection.execute(query)
    ]


def told(connection: Connection, one: Watched, what: str) -> None:
    chosen = watches.c.peer == one.peer, watches.c.job == one.job, watches.c.frame == one.frame
    connection.execute(update(watches).where(*chosen).values(told=what))


def forget_peers(connection: Connection, known: Collection[str]) -> None:
    """Servers that are no peers any more watch nothing."""
    connection.execute(delete(watches).where(watches.c.peer.not_in(list(known))))
