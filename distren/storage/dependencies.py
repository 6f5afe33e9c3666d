"""Which frames need which, in the database. A frame is written (job, frame) here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, and_, case, exists, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from distren.domain.job import Blob
from distren.domain.needs import Needs
from distren.domain.states import JOB_ENDED, FrameState
from distren.errors import NotFound
from distren.storage.tables import dependencies, frames, jobs

Key = tuple[int, int]
_AT_ONCE = 5_000  # well below the number of parameters that a statement may have
BROKEN = (FrameState.FAILED, FrameState.CANCELLED)
_needed = frames.alias("needed")
_IS_NEEDED = and_(_needed.c.job == dependencies.c.of_job, _needed.c.id == dependencies.c.of_frame)


def prepare(connection: Connection, job: int, rules: Iterable[Needs]) -> None:
    """Before the needs of a new job are written: what becomes of the frames that it needs is followed from now on.

    Raises NotFound where there is no such job. A job can not need a later one, so jobs form no cycle.
    """
    of_jobs = {rule.job for rule in rules}
    for of_job in of_jobs:
        if of_job is not None and (of_job >= job or _is_deleted(connection, of_job)):
            raise NotFound(f"a frame needs frames of job {of_job}, but there is no job {of_job}")
    connection.execute(
        update(jobs).where(jobs.c.id.in_([job if of_job is None else of_job for of_job in of_jobs])).values(needed=1)
    )


def rows(job: int, rule: Needs) -> Iterator[dict[str, int]]:
    """The rows that a rule of a job stands for."""
    of_job = job if rule.job is None else rule.job
    return ({"job": job, "frame": frame, "of_job": of_job, "of_frame": needed} for frame, needed in rule)


def add(connection: Connection, part: Sequence[dict[str, int]]) -> None:
    """Write rows; those that are there already stay."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name]
    connection.execute(insert(dependencies).on_conflict_do_nothing(), part)


def page(connection: Connection, job: int, after: int, most: int) -> int | None:
    """The last of the frames above `after` that need about `most` frames together; None where none needs any."""
    of_job = select(dependencies.c.frame).where(dependencies.c.job == job, dependencies.c.frame > after)
    some = of_job.order_by(dependencies.c.frame).limit(most).subquery()
    last: int | None = connection.execute(select(func.max(some.c.frame))).scalar()
    return last


def _is_deleted(connection: Connection, job: int) -> bool:
    return connection.execute(select(jobs.c.deleted).where(jobs.c.id == job)).scalar() is not None


def open_job_needing(connection: Connection, job: int, arriving: Collection[int]) -> int | None:
    """A job that has not ended, or is one of those `arriving`, and needs frames of this one; None where none does."""
    needing = select(dependencies.c.job).where(dependencies.c.of_job == job, dependencies.c.job != job).distinct()
    is_open = and_(jobs.c.state.not_in(JOB_ENDED), jobs.c.deleted.is_(None))
    query = select(jobs.c.id).where(jobs.c.id.in_(needing), or_(is_open, jobs.c.id.in_(arriving)))
    number: int | None = connection.execute(query.order_by(jobs.c.id).limit(1)).scalar()
    return number


def check_there(connection: Connection, job: int, after: int, last: int) -> None:
    """Raise NotFound where one of these frames, above `after` and up to `last`, needs one that is not there."""
    query = (
        select(dependencies.c.frame, dependencies.c.of_job, dependencies.c.of_frame)
        .where(*_within(job, after, last), ~exists().where(_IS_NEEDED))
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is not None:
        raise NotFound(
            f"frame/{row.frame} needs {row.of_job}/frame/{row.of_frame}, which is not there: correct <needs>"
        )


def count(connection: Connection, job: int, after: int, last: int) -> None:
    """Set what each of these frames needs and waits for, and block those that wait."""
    waiting = case((_needed.c.state == FrameState.DONE, 0), else_=1)
    counted = (
        select(dependencies.c.frame, func.count().label("needs"), func.sum(waiting).label("waits_for"))
        .join(_needed, _IS_NEEDED)
        .where(*_within(job, after, last))
        .group_by(dependencies.c.frame)
        .subquery()
    )
    connection.execute(
        update(frames)
        .where(frames.c.job == job, frames.c.id == counted.c.frame)
        .values(
            needs=counted.c.needs,
            waits_for=counted.c.waits_for,
            state=case((counted.c.waits_for > 0, FrameState.BLOCKED), else_=frames.c.state),
        )
    )


def waiting_in_vain(connection: Connection, job: int, after: int, last: int) -> list[Key]:
    """Those of these frames that are blocked, and need a frame which has failed, was called off, or is gone."""
    query = (
        select(dependencies.c.frame)
        .join(frames, (frames.c.job == dependencies.c.job) & (frames.c.id == dependencies.c.frame))
        .outerjoin(_needed, _IS_NEEDED)
        .where(*_within(job, after, last), frames.c.state == FrameState.BLOCKED)
        .where(_needed.c.state.in_(BROKEN) | _needed.c.id.is_(None))
        .distinct()
    )
    return [(job, frame) for frame in connection.execute(query).scalars()]


def _within(job: int, after: int, last: int) -> tuple[ColumnElement[bool], ...]:
    return dependencies.c.job == job, dependencies.c.frame > after, dependencies.c.frame <= last


def dependents(connection: Connection, keys: Collection[Key], among: Collection[Key] | None = None) -> dict[Key, int]:
    """The frames that need any of these, each with how many of them it needs; those `among` some, where given."""
    found: defaultdict[Key, int] = defaultdict(int)
    for chosen in _chosen(keys, dependencies.c.of_job, dependencies.c.of_frame):
        if among is not None:
            chosen = and_(chosen, tuple_(dependencies.c.job, dependencies.c.frame).in_(among))
        query = select(dependencies.c.job, dependencies.c.frame, func.count()).where(chosen)
        for job, frame, count in connection.execute(query.group_by(dependencies.c.job, dependencies.c.frame)):
            found[job, frame] += count
    return found


def waiting_on(connection: Connection, keys: Collection[Key]) -> dict[Key, Key]:
    """The blocked frames that need any of these, directly or through other blocked ones, each with a frame it needs."""
    return _reached(connection, keys, WAITING)


def starved_by(connection: Connection, keys: Collection[Key]) -> dict[Key, Key]:
    """The frames that have failed for want of any of these, directly or not, each with a frame it needs."""
    return _reached(connection, keys, STARVED)


WAITING = frames.c.state == FrameState.BLOCKED
STARVED = and_(frames.c.state == FrameState.FAILED, frames.c.starved == 1)
"""which frames a walk passes, from those that are needed to those that need them"""


def are_many(connection: Connection, keys: Collection[Key], most: int, passing: ColumnElement[bool] | None) -> bool:
    """Whether `most` dependencies or more lead on from these frames: directly, or through `passing` ones."""
    found = 0
    for chosen in _chosen(keys, dependencies.c.of_job, dependencies.c.of_frame):
        way = select(dependencies.c.job).where(chosen) if passing is None else select(walk(chosen, passing).c.job)
        found += connection.execute(select(func.count()).select_from(way.limit(most).subquery())).scalar_one()
        if found >= most:
            return True
    return False


def ways(keys: Collection[Key]) -> Iterator[ColumnElement[bool]]:
    """Conditions that choose the dependencies on these frames, a part of them each."""
    return _chosen(keys, dependencies.c.of_job, dependencies.c.of_frame)


def _reached(connection: Connection, keys: Collection[Key], passing: ColumnElement[bool]) -> dict[Key, Key]:
    """Walk from these frames to those that need them, as far as frames are `passing`."""
    found: dict[Key, Key] = {}
    for chosen in _chosen(keys, dependencies.c.of_job, dependencies.c.of_frame):
        for job, frame, of_job, of_frame in connection.execute(select(walk(chosen, passing))):
            found.setdefault((job, frame), (of_job, of_frame))
    return found


def walk(chosen: ColumnElement[bool], passing: ColumnElement[bool]) -> CTE:
    """The dependencies that lead on from those chosen, all of them of frames that are `passing`."""
    columns = (dependencies.c.job, dependencies.c.frame, dependencies.c.of_job, dependencies.c.of_frame)
    is_dependent = and_(frames.c.job == dependencies.c.job, frames.c.id == dependencies.c.frame)
    found = select(*columns).join(frames, is_dependent).where(chosen, passing).cte("walk", recursive=True)
    further = select(*columns).select_from(found)
    further = further.join(
        dependencies, and_(dependencies.c.of_job == found.c.job, dependencies.c.of_frame == found.c.frame)
    )
    return found.union(further.join(frames, is_dependent).where(passing))


def broken(connection: Connection, keys: Collection[Key]) -> dict[Key, tuple[Key, FrameState]]:
    """Those of the frames that need one that has failed or was called off, each with such a one and its state."""
    found: dict[Key, tuple[Key, FrameState]] = {}
    for chosen in _chosen(keys, dependencies.c.job, dependencies.c.frame):
        query = select(dependencies, _needed.c.state).outerjoin(_needed, _IS_NEEDED)
        for row in connection.execute(query.where(chosen, or_(_needed.c.state.in_(BROKEN), _needed.c.id.is_(None)))):
            state = FrameState(row.state or FrameState.CANCELLED)  # none: its job has been deleted
            found.setdefault((row.job, row.frame), ((row.of_job, row.of_frame), state))
    return found


def results(connection: Connection, job: int, frame: int) -> list[tuple[Key, Blob]]:
    """The frames that a frame needs, with the result of each that has one."""
    query = (
        select(_needed.c.job, _needed.c.id, _needed.c.result, _needed.c.result_size)
        .select_from(dependencies)
        .join(_needed, _IS_NEEDED)
        .where(dependencies.c.job == job, dependencies.c.frame == frame, _needed.c.result.is_not(None))
        .order_by(_needed.c.job, _needed.c.id)
    )
    return [
        ((of_job, of_frame), Blob(digest=digest, size=size))
        for of_job, of_frame, digest, size in connection.execute(query)
    ]


def waits(connection: Connection, job: int, waiting: Sequence[int]) -> dict[int, Key]:
    """One of the frames that each of these frames of a job waits for."""
    found: dict[int, Key] = {}
    for chosen in _chosen([(job, frame) for frame in waiting], dependencies.c.job, dependencies.c.frame):
        query = (
            select(dependencies.c.frame, dependencies.c.of_job, func.min(dependencies.c.of_frame))
            .join(_needed, _IS_NEEDED)
            .where(chosen, _needed.c.state != FrameState.DONE)
            .group_by(dependencies.c.frame, dependencies.c.of_job)
        )
        for frame, of_job, of_frame in connection.execute(query):
            found.setdefault(frame, (of_job, of_frame))
    return found


def _chosen(keys: Collection[Key], job: Any, frame: Any) -> Iterator[ColumnElement[bool]]:
    """Conditions that name these frames, a part of them each."""
    by_job: defaultdict[int, list[int]] = defaultdict(list)
    for number, one in keys:
        by_job[number].append(one)
    for number, wanted in by_job.items():
        for start in range(0, len(wanted), _AT_ONCE):
            yield and_(job == number, frame.in_(wanted[start : start + _AT_ONCE]))
