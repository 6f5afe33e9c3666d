"""Frames that peers have lent us. They stand in jobs of their own here, one for each job of a peer and renderer."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from distren.domain.progress import Counts
from distren.domain.states import FRAME_ENDED, FrameState, JobState
from distren.storage import jobs as job_rows
from distren.storage.tables import attempts, files, frames, guest_frames, guests, jobs
from distren.wire.frames import Render
from distren.wire.lending import Lend

_IS_FRAME = and_(frames.c.job == guest_frames.c.job, frames.c.id == guest_frames.c.frame)
_FRESH = {"state": FrameState.READY, "issue": 0, "failures": 0, "attempts": 0, "not_before": 0.0}


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A job of ours, and whose it is in truth."""

    job: int
    peer: str
    of_job: int
    renderer: str


@dataclass(frozen=True, kw_only=True)
class GuestFrame:
    """A frame that was lent to us and has not been brought back; `issue` is the lender's."""

    guest: Guest
    frame: int
    issue: int


@dataclass(frozen=True, kw_only=True)
class News(GuestFrame):
    """A guest's frame of whose state the lender does not know; `token` names its attempt, if any."""

    state: FrameState
    token: str | None
    reason: str | None


def enter(connection: Connection, peer: str, lend: Lend, first: Render, now: float) -> Guest:
    """The job that holds the lent frames of a renderer; made where there is none."""
    known = guests.c.peer == peer, guests.c.of_job == lend.job, guests.c.renderer == first.renderer
    row = connection.execute(select(guests).where(*known)).first()
    if row is not None:
        return _guest(row)
    result = connection.execute(
        insert(jobs).values(
            key=secrets.token_hex(16),
            name=f"{lend.name} (distren://{peer}/{lend.job})",
            renderer=first.renderer,
            pool=lend.pool,
            priority=min(lend.priority, 100),
            state=JobState.ACTIVE,
            width=first.width,
            height=first.height,
            first=first.first,
            last=first.last,
            settings=first.settings,
            time_limit=first.time_limit,
            attempts=1,
            manifest=first.manifest.digest,
            manifest_size=first.manifest.size,
            counts={},
            created=now,
        )
    )
    assert result.inserted_primary_key is not None
    job: int = result.inserted_primary_key[0]
    connection.execute(insert(guests).values(job=job, peer=peer, of_job=lend.job, renderer=first.renderer))
    return Guest(job=job, peer=peer, of_job=lend.job, renderer=first.renderer)


def every(connection: Connection) -> list[Guest]:
    return [_guest(row) for row in connection.execute(select(guests))]


def of_job(connection: Connection, peer: str, job: int) -> list[Guest]:
    """The jobs here that hold frames of a peer's job."""
    return [
        _guest(row) for row in connection.execute(select(guests).where(guests.c.peer == peer, guests.c.of_job == job))
    ]


def take(connection: Connection, guest: Guest, render: Render, *, arriving: bool) -> None:
    """Note a lent frame; one that is here already has another issue now."""
    chosen = guest_frames.c.job == guest.job, guest_frames.c.frame == render.frame
    values = {"issue": render.issue, "render": render.encode(), "told": None}
    if not connection.execute(update(guest_frames).where(*chosen).values(values)).rowcount:
        values |= {"job": guest.job, "frame": render.frame, "arriving": int(arriving)}
        connection.execute(insert(guest_frames).values(values))


def arriving(connection: Connection, job: int) -> list[Render]:
    """The frames whose inputs are not all here, as the lender describes them."""
    query = select(guest_frames.c.render).where(guest_frames.c.job == job, guest_frames.c.arriving == 1)
    return [Render.expect(body) for body in connection.execute(query).scalars()]


def jobs_arriving(connection: Connection) -> list[Guest]:
    """The guests with frames whose inputs are not all here."""
    query = select(guests).where(guests.c.job.in_(select(guest_frames.c.job).where(guest_frames.c.arriving == 1)))
    return [_guest(row) for row in connection.execute(query)]


def arrived(connection: Connection, job: int, ids: Collection[int]) -> list[int]:
    """The inputs of these frames are here; returns those that are still wanted."""
    chosen = guest_frames.c.job == job, guest_frames.c.frame.in_(list(ids)), guest_frames.c.arriving == 1
    found = list(connection.execute(select(guest_frames.c.frame).where(*chosen)).scalars())
    connection.execute(update(guest_frames).where(*chosen).values(arriving=0))
    return found


def add_frames(connection: Connection, job: int, ids: Sequence[int]) -> None:
    """Give a guest frames that it never had, ready."""
    if not ids:
        return
    connection.execute(insert(frames), [{**_FRESH, "job": job, "id": number} for number in ids])
    record = job_rows.by_id(connection, job)
    assert record is not None
    counts = {**record.counts.by_state, FrameState.READY: record.counts[FrameState.READY] + len(ids)}
    job_rows.set_counts(connection, job, Counts(counts), next_file=record.next_file)


def find(connection: Connection, peer: str, job: int, frame: int) -> GuestFrame | None:
    """The frame that a peer has lent us, unless it has been brought back."""
    query = select(guests, guest_frames.c.frame, guest_frames.c.issue).join_from(
        guests, guest_frames, guest_frames.c.job == guests.c.job
    )
    row = connection.execute(
        query.where(guests.c.peer == peer, guests.c.of_job == job, guest_frames.c.frame == frame)
    ).first()
    return None if row is None else GuestFrame(guest=_guest(row), frame=row.frame, issue=row.issue)


def renders(connection: Connection, job: int, ids: Collection[int]) -> dict[int, Render]:
    """How the lender describes these frames."""
    query = select(guest_frames.c.frame, guest_frames.c.render)
    query = query.where(guest_frames.c.job == job, guest_frames.c.frame.in_(list(ids)))
    return {frame: Render.expect(body) for frame, body in connection.execute(query)}


def news(connection: Connection) -> list[News]:
    """The frames whose lender is to be told that they are rendered now, or have ended."""
    query = (
        select(guests, guest_frames.c.frame, guest_frames.c.issue, frames.c.state, frames.c.token, frames.c.reason)
        .join_from(guests, guest_frames, guest_frames.c.job == guests.c.job)
        .join(frames, _IS_FRAME)
        .where(
            guest_frames.c.arriving == 0,
            or_(
                frames.c.state.in_(FRAME_ENDED),
                and_(
                    frames.c.state == FrameState.RENDERING,
                    or_(guest_frames.c.told.is_(None), guest_frames.c.told != frames.c.token),
                ),
            ),
        )
        .order_by(guests.c.peer, guests.c.job, guest_frames.c.frame)
    )
    return [
        News(
            guest=_guest(row),
            frame=row.frame,
            issue=row.issue,
            state=FrameState(row.state),
            token=row.token,
            reason=row.reason,
        )
        for row in connection.execute(query)
    ]


def told(connection: Connection, one: News) -> None:
    """The lender has been told of an attempt."""
    chosen = guest_frames.c.job == one.guest.job, guest_frames.c.frame == one.frame
    connection.execute(update(guest_frames).where(*chosen).values(told=one.token))


def brought_back(connection: Connection, job: int, frame: int) -> None:
    """The lender has the result, or no longer wants it."""
    connection.execute(delete(guest_frames).where(guest_frames.c.job == job, guest_frames.c.frame == frame))


def held_by_peer(connection: Connection) -> dict[str, int]:
    """How many frames of each peer are here."""
    query = select(guests.c.peer, func.count()).join_from(guests, guest_frames, guest_frames.c.job == guests.c.job)
    return dict(connection.execute(query.group_by(guests.c.peer)).all())


def issued_to_own(connection: Connection) -> dict[str, int]:
    """How many frames that are no guest's stand in each queue or in the hands of its workers."""
    query = select(frames.c.queue, func.count()).where(
        frames.c.queue.is_not(None), frames.c.job.not_in(select(guests.c.job))
    )
    return dict(connection.execute(query.group_by(frames.c.queue)).all())


def waiting(connection: Connection) -> list[GuestFrame]:
    """The frames that are ready here and have not been issued."""
    query = select(guests, guest_frames.c.frame, guest_frames.c.issue).join_from(
        guests, guest_frames, guest_frames.c.job == guests.c.job
    )
    query = query.join(frames, _IS_FRAME).where(frames.c.state == FrameState.READY)
    return [GuestFrame(guest=_guest(row), frame=row.frame, issue=row.issue) for row in connection.execute(query)]


def open_frames(connection: Connection, job: int) -> list[int]:
    """The frames of a guest that are not brought back."""
    return list(connection.execute(select(guest_frames.c.frame).where(guest_frames.c.job == job)).scalars())


def forget(connection: Connection, job: int) -> None:
    """Remove a guest with all its traces."""
    for table in (guest_frames, guests, attempts, frames, files):
        connection.execute(delete(table).where(table.c.job == job))
    connection.execute(delete(jobs).where(jobs.c.id == job))


def _guest(row: Row[Any]) -> Guest:
    return Guest(job=row.job, peer=row.peer, of_job=row.of_job, renderer=row.renderer)
