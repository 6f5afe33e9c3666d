"""Changes many frames of a job at once, in a few statements: 100,000 of them, one by one, would keep others waiting.

The rules are those of `distren.domain.frame` (`cancelled`, `retried`), written as SQL; a test compares both. `part` is
a condition on the table of frames; `Cursor` makes one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, func, select, update

from distren.domain.states import FRAME_ENDED, FrameState
from distren.storage.dependencies import Key
from distren.storage.tables import dependencies, frames

WAITING = (FrameState.BLOCKED, FrameState.READY)
"""states of frames that nobody but the database knows of"""
_SHORT = 100
"""ids of a range that are named one by one"""
_NAMED = 5_000  # well below the number of parameters that a statement may have


class Cursor:
    """Goes through frames of a job, those of some ranges or all, in states that count, a part at a time."""

    def __init__(self, job: int, wanted: Iterable[range] | None, states: Collection[FrameState] | None) -> None:
        self._job, self._states = job, states
        ranges = [range(2**63 - 1)] if wanted is None else list(wanted)
        self._alone = sorted({number for ids in ranges if len(ids) < _SHORT for number in ids})
        self._ranges = [ids for ids in ranges if len(ids) >= _SHORT]

    def next(self, connection: Connection, most: int) -> tuple[ColumnElement[bool], int] | None:
        """What chooses up to `most` frames more, and how many these are; None where there are none."""
        while self._alone:
            named, self._alone = self._alone[:_NAMED], self._alone[_NAMED:]
            count, last = self._count(connection, frames.c.id.in_(named), most)
            if count == most:
                self._alone = [number for number in named if number > last] + self._alone
            if count:
                return frames.c.id.in_([number for number in named if number <= last]), count
        while self._ranges:
            ids = self._ranges.pop()
            count, last = self._count(connection, _within(ids, ids[-1]), most)
            if count == most and last < ids[-1]:
                self._ranges.append(range(last + ids.step, ids.stop, ids.step))
            if count:
                return _within(ids, last), count
        return None

    def _count(self, connection: Connection, part: ColumnElement[bool], most: int) -> tuple[int, int]:
        """How many of the part's first `most` frames there are, and the last one's id."""
        query = select(frames.c.id).where(frames.c.job == self._job, part).order_by(frames.c.id).limit(most)
        if self._states is not None:
            query = query.where(frames.c.state.in_(self._states))
        some = query.subquery()
        count, last = connection.execute(select(func.count(), func.max(some.c.id))).one()
        return count, last or 0


def _within(ids: range, last: int) -> ColumnElement[bool]:
    """Frames of `ids` up to `last`: with one upper bound, since SQLite seeks by one only and reads on to the end."""
    part = and_(frames.c.id >= ids[0], frames.c.id <= last)
    return part if ids.step == 1 else and_(part, (frames.c.id - ids[0]) % ids.step == 0)


def is_alone(connection: Connection, job: int) -> bool:
    """Whether no frame of the job needs another one, of whatever job."""
    return not connection.execute(select(exists().where(dependencies.c.job == job))).scalar()


def cancel(connection: Connection, job: int, part: ColumnElement[bool], now: float) -> dict[FrameState, int]:
    """Call off frames that wait; how many were in which state."""
    found = _counted(connection, job, part, WAITING)
    if found:
        connection.execute(
            update(frames)
            .where(frames.c.job == job, part, frames.c.state.in_(WAITING))
            .values(state=FrameState.CANCELLED, ended=now)
        )
    return found


def retry(
    connection: Connection, job: int, part: ColumnElement[bool], states: Collection[FrameState] = FRAME_ENDED
) -> tuple[dict[FrameState, int], int]:
    """Open frames again that have ended in such a state: how many were in which, and how many of them wait now."""
    found = _counted(connection, job, part, states)
    ended = (frames.c.job == job, part, frames.c.state.in_(states))
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
                pardoned=frames.c.issue,
                **fresh,
            )
        )
    return found, waiting


def wait_no_longer(connection: Connection, job: int, part: ColumnElement[bool]) -> None:
    """What waits for its next attempt need not wait."""
    late = (frames.c.job == job, part, frames.c.state.in_(WAITING), frames.c.not_before > 0)
    connection.execute(update(frames).where(*late).values(not_before=0.0))


def needed_elsewhere(
    connection: Connection, job: int, part: ColumnElement[bool], states: Collection[FrameState]
) -> list[Key]:
    """The frames of a job in these states that frames of other jobs need."""
    query = (
        select(dependencies.c.of_frame)
        .join(frames, (frames.c.job == dependencies.c.of_job) & (frames.c.id == dependencies.c.of_frame))
        .where(dependencies.c.of_job == job, dependencies.c.job != job, part, frames.c.state.in_(states))
        .distinct()
    )
    return [(job, frame) for frame in connection.execute(query).scalars()]


def _counted(
    connection: Connection, job: int, part: ColumnElement[bool], states: Collection[FrameState]
) -> dict[FrameState, int]:
    query = select(frames.c.state, func.count()).where(frames.c.job == job, part, frames.c.state.in_(states))
    return {FrameState(state): count for state, count in connection.execute(query.group_by(frames.c.state))}
