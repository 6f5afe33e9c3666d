"""Changes all frames of a job at once, in a few statements: 100,000 of them, one by one, would keep others waiting.

The rules are those of `distren.domain.frame` (`cancelled`, `retried`), written as SQL; a test compares both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from distren.domain.states import FrameState
from distren.storage.dependencies import BROKEN, Key
from distren.storage.tables import dependencies, frames

_UNTOUCHED = (FrameState.BLOCKED, FrameState.READY, FrameState.QUEUED)


def cancel(connection: Connection, job: int, now: float) -> dict[FrameState, int]:
    """Call off the frames of a job that no worker has begun; how many were in which state."""
    found = _counted(connection, job, _UNTOUCHED)
    if found:
        connection.execute(
            update(frames)
            .where(frames.c.job == job, frames.c.state.in_(_UNTOUCHED))
            .values(state=FrameState.CANCELLED, ended=now, queue=None)
        )
    return found


def retry(connection: Connection, job: int) -> tuple[dict[FrameState, int], int]:
    """Open the frames of a job again that have no result: how many were in which state, and how many wait now."""
    found = _counted(connection, job, BROKEN)
    ended = (frames.c.job == job, frames.c.state.in_(BROKEN))
    waiting: int = connection.execute(select(func.count()).where(*ended, frames.c.waits_for > 0)).scalar_one()
    if found:
        fresh: dict[str, Any] = dict.fromkeys(("queue", "worker", "token", "started", "ended", "result", "reason"))
        connection.execute(
            update(frames)
            .where(*ended)
            .values(
                state=case((frames.c.waits_for > 0, FrameState.BLOCKED), else_=FrameState.READY),
                starved=0,
                failures=0,
                not_before=0.0,
                result_size=None,
                **fresh,
            )
        )
    return found, waiting


def needed_elsewhere(connection: Connection, job: int, states: Collection[FrameState]) -> list[Key]:
    """The frames of a job in these states that frames of other jobs need."""
    query = (
        select(dependencies.c.of_frame)
        .join(frames, (frames.c.job == dependencies.c.of_job) & (frames.c.id == dependencies.c.of_frame))
        .where(dependencies.c.of_job == job, dependencies.c.job != job, frames.c.state.in_(states))
        .distinct()
    )
    return [(job, frame) for frame in connection.execute(query).scalars()]


def waiting_in_vain(connection: Connection, job: int) -> list[Key]:
    """The blocked frames of a job that need a frame which has failed, was called off, or is gone."""
    needed = frames.alias("needed")
    query = (
        select(dependencies.c.frame)
        .join(frames, (frames.c.job == dependencies.c.job) & (frames.c.id == dependencies.c.frame))
        .outerjoin(needed, (needed.c.job == dependencies.c.of_job) & (needed.c.id == dependencies.c.of_frame))
        .where(dependencies.c.job == job, frames.c.state == FrameState.BLOCKED)
        .where(needed.c.state.in_(BROKEN) | needed.c.id.is_(None))
        .distinct()
    )
    return [(job, frame) for frame in connection.execute(query).scalars()]


def _counted(connection: Connection, job: int, states: Collection[FrameState]) -> dict[FrameState, int]:
    query = select(frames.c.state, func.count()).where(frames.c.job == job, frames.c.state.in_(states))
    return {FrameState(state): count for state, count in connection.execute(query.group_by(frames.c.state))}
