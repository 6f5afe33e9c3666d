"""Frames in the database: their records as domain values, and the queries about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, literal_column, select, update

from distren.domain.frame import Frame
from distren.domain.job import Blob
from distren.domain.states import ISSUED, FrameState
from distren.storage.tables import frames

# A literal: SQLite does not use its index of ready frames for a parameter.
_READY: ColumnElement[str] = literal_column("'ready'")
_AT_ONCE = 5_000  # well below the number of parameters that a statement may have

_UPDATE = (
    update(frames)
    .where(frames.c.job == bindparam("of_job"), frames.c.id == bindparam("of_id"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "issue",
                "failures",
                "attempts",
                "queue",
                "worker",
                "token",
                "started",
                "ended",
                "result",
                "result_size",
                "reason",
                "not_before",
                "pardoned",
            )
        }
    )
)


_UPDATE_NEEDING = _UPDATE.values({name: bindparam(name) for name in ("waits_for", "starved")})

# Made once: each turn of a server asks these, and to make one takes as long as to have it answered.
_LOAD = (
    select(frames)
    .where(frames.c.job == bindparam("of_job"), frames.c.id.in_(bindparam("ids", expanding=True)))
    .with_for_update()
)
_NEXT = (
    select(frames)
    .where(
        frames.c.job == bindparam("of_job"),
        frames.c.lane == bindparam("of_lane"),
        frames.c.state == _READY,
        frames.c.not_before <= bindparam("now"),
    )
    .order_by(frames.c.id)
    .limit(bindparam("most"))
    .with_for_update()
)
_BY_QUEUE = select(frames.c.queue, func.count()).where(frames.c.queue.is_not(None)).group_by(frames.c.queue)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A frame with what only the database knows.

    `attempts` is how many there have been, `needs` how many frames it needs; `group` is its group's number, None where
    it is as its job says; `lane` says which of the job's lanes it is in.
    """

    frame: Frame
    attempts: int
    needs: int = 0
    group: int | None = None
    lane: int = 0

    def become(self, frame: Frame, *, attempts: int | None = None) -> Stored:
        """The same frame, changed. Written out: `replace` takes longer, and every change of a frame comes by here."""
        attempts = self.attempts if attempts is None else attempts
        return Stored(frame=frame, attempts=attempts, needs=self.needs, group=self.group, lane=self.lane)


def load(connection: Connection, keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Stored]:
    """The frames of these (job, frame) ids, locked against others for the rest of the transaction."""
    by_job: defaultdict[int, list[int]] = defaultdict(list)
    for job, frame in keys:
        by_job[job].append(frame)
    found: dict[tuple[int, int], Stored] = {}
    for job, wanted in by_job.items():
        for start in range(0, len(wanted), _AT_ONCE):
            part = {"of_job": job, "ids": wanted[start : start + _AT_ONCE]}
            for row in connection.execute(_LOAD, part):
                found[job, row.id] = _stored(row)
    return found


def save(connection: Connection, changed: Collection[Stored]) -> None:
    """Write frames that were loaded in this transaction."""
    if alone := [_values(stored) for stored in changed if not stored.needs]:
        connection.execute(_UPDATE, alone)
    if needing := [stored for stored in changed if stored.needs]:
        more = [{"waits_for": one.frame.waits_for, "starved": int(one.frame.starved)} for one in needing]
        values = [_values(stored) | extra for stored, extra in zip(needing, more, strict=True)]
        connection.execute(_UPDATE_NEEDING, values)


def ready(connection: Connection, job: int, *, lane: int = 0, now: float, limit: int) -> list[Stored]:
    """The next frames of a job to render by one of its renderers, in the order of their ids."""
    wanted = {"of_job": job, "of_lane": lane, "now": now, "most": limit}
    return [_stored(row) for row in connection.execute(_NEXT, wanted)]


def shift_retries(connection: Connection, seconds: float) -> None:
    """The wall clock has jumped by so much: what waits for its retry waits no longer and no shorter for that."""
    connection.execute(
        update(frames)
        .where(frames.c.state == _READY, frames.c.not_before > 0)
        .values(not_before=frames.c.not_before + seconds)
    )


def retry_by(connection: Connection, latest: float) -> None:
    """Nothing waits for its retry beyond `latest`: the wall clock was wrong when a later time was written."""
    connection.execute(
        update(frames).where(frames.c.state == _READY, frames.c.not_before > latest).values(not_before=latest)
    )


def ready_lanes(connection: Connection, job: int, lanes: Collection[int]) -> list[int]:
    """Those of the lanes in which a frame of the job is ready, be it later."""
    query = select(frames.c.lane).where(frames.c.job == job, frames.c.state == _READY)
    return [lane for lane in lanes if connection.execute(query.where(frames.c.lane == lane).limit(1)).first()]


def retry_times(connection: Connection, now: float) -> list[float]:
    """When the frames that wait for their retry become due."""
    query = select(frames.c.not_before).where(frames.c.state == _READY, frames.c.not_before > now)
    return list(connection.execute(query).scalars())


def issued_by_queue(connection: Connection) -> dict[str, int]:
    """How many frames stand in each queue or in the hands of its workers."""
    return {queue: count for queue, count in connection.execute(_BY_QUEUE) if queue is not None}


def issued(connection: Connection, *, queue: str | None = None) -> list[Stored]:
    """The frames that are issued: to `queue`, or at all."""
    query = select(frames).where(frames.c.queue.is_not(None) if queue is None else frames.c.queue == queue)
    return [_stored(row) for row in connection.execute(query.with_for_update()) if row.state in ISSUED]


def of_job(
    connection: Connection, job: int, *, after: int = -1, limit: int, states: Collection[str] | None = None
) -> list[Stored]:
    """Frames of a job by id, above `after`."""
    query = select(frames).where(frames.c.job == job, frames.c.id > after).order_by(frames.c.id).limit(limit)
    if states is not None:
        query = query.where(frames.c.state.in_(states))
    return [_stored(row) for row in connection.execute(query)]


def chosen(
    connection: Connection, job: int, part: ColumnElement[bool], states: Collection[str] | None = None
) -> list[Stored]:
    """The frames of a job that `part`, a condition on their table, chooses, locked for the rest of the transaction."""
    query = select(frames).where(frames.c.job == job, part)
    if states is not None:
        query = query.where(frames.c.state.in_(states))
    return [_stored(row) for row in connection.execute(query.order_by(frames.c.id).with_for_update())]


def _stored(row: Row[Any]) -> Stored:
    frame = Frame(
        job=row.job,
        id=row.id,
        state=FrameState(row.state),
        issue=row.issue,
        failures=row.failures,
        queue=row.queue,
        worker=row.worker,
        token=row.token,
        started=row.started,
        ended=row.ended,
        result=None if row.result is None else Blob(digest=row.result, size=row.result_size),
        reason=row.reason,
        not_before=row.not_before,
        waits_for=row.waits_for,
        starved=bool(row.starved),
        pardoned=row.pardoned,
    )
    return Stored(frame=frame, attempts=row.attempts, needs=row.needs, group=row.group, lane=row.lane)


def _values(stored: Stored) -> dict[str, Any]:
    frame = stored.frame
    return {
        "of_job": frame.job,
        "of_id": frame.id,
        "state": frame.state,
        "issue": frame.issue,
        "failures": frame.failures,
        "attempts": stored.attempts,
        "queue": frame.queue,
        "worker": frame.worker,
        "token": frame.token,
        "started": frame.started,
        "ended": frame.ended,
        "result": None if frame.result is None else frame.result.digest,
        "result_size": None if frame.result is None else frame.result.size,
        "reason": frame.reason,
        "not_before": frame.not_before,
        "pardoned": frame.pardoned,
    }
