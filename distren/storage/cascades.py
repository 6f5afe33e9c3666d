"""Lets very many frames follow one that they need, by a statement: one by one, 100,000 of them would take 8 s.

The rules are those of `distren.domain.frame` (`need_done`, `starve`, `revive`), written as SQL; tests compare both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, case, cast, func, literal, select, tuple_, update

from distren.domain.states import FrameState, JobState
from distren.storage import dependencies as rows
from distren.storage.dependencies import Key
from distren.storage.tables import dependencies, frames, jobs
from distren.urls import SCHEME

Moved = Mapping[int, Counter[FrameState]]
"""by how much the numbers of frames in each state have changed, for each job"""


def release(connection: Connection, keys: Collection[Key], but: Collection[Key]) -> Moved:
    """These frames have become done: those that need them wait for fewer. `but`: those that are left as they are."""
    moved: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
    for chosen in rows.ways(keys):
        if but:
            chosen = and_(chosen, tuple_(dependencies.c.job, dependencies.c.frame).not_in(but))
        needs = select(dependencies.c.job, dependencies.c.frame, func.count().label("count")).where(chosen)
        done = needs.group_by(dependencies.c.job, dependencies.c.frame).subquery()
        is_frame = and_(frames.c.job == done.c.job, frames.c.id == done.c.frame)
        is_free = and_(frames.c.state == FrameState.BLOCKED, frames.c.waits_for == done.c.count)
        free = select(frames.c.job, func.count()).join(done, is_frame).where(is_free).group_by(frames.c.job)
        for job, count in connection.execute(free):
            moved[job].update({FrameState.BLOCKED: -count, FrameState.READY: count})
        connection.execute(
            update(frames)
            .where(is_frame)
            .values(
                waits_for=frames.c.waits_for - done.c.count,
                state=case((is_free, FrameState.READY), else_=frames.c.state),
            )
        )
    return moved


def starve(connection: Connection, keys: Collection[Key], server: str, now: float) -> Moved:
    """These frames have failed or were called off: those that wait for them, directly or not, fail as well."""
    moved: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
    needed = frames.alias("needed")
    for chosen in rows.ways(keys):
        way = rows.walk(chosen, rows.WAITING)
        became = case((needed.c.state == FrameState.CANCELLED, "was cancelled"), else_="failed")
        parts: tuple[ColumnElement[Any], ...] = (
            literal(f"needs {SCHEME}{server}/"),
            cast(way.c.of_job, String),
            literal("/frame/"),
            cast(way.c.of_frame, String),
            literal(", which "),
            became,
        )
        text = parts[0]
        for part in parts[1:]:
            text = text.concat(part)
        reasons = select(way.c.job, way.c.frame, func.min(text).label("reason"))
        is_needed = and_(needed.c.job == way.c.of_job, needed.c.id == way.c.of_frame)
        reached = reasons.join(needed, is_needed).group_by(way.c.job, way.c.frame).subquery()
        for job, count in connection.execute(select(reached.c.job, func.count()).group_by(reached.c.job)):
            moved[job].update({FrameState.BLOCKED: -count, FrameState.FAILED: count})
        connection.execute(
            update(frames)
            .where(frames.c.job == reached.c.job, frames.c.id == reached.c.frame)
            .values(state=FrameState.FAILED, starved=1, ended=now, reason=reached.c.reason)
        )
    return moved


def revive(connection: Connection, keys: Collection[Key]) -> Moved:
    """These frames are tried again: so are those that failed for want of them, directly or not."""
    moved: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
    open_jobs = select(jobs.c.id).where(jobs.c.state != JobState.CANCELLED)
    for chosen in rows.ways(keys):
        way = rows.walk(chosen, rows.STARVED)
        reached = select(way.c.job, way.c.frame).where(way.c.job.in_(open_jobs)).distinct().subquery()
        is_frame = and_(frames.c.job == reached.c.job, frames.c.id == reached.c.frame)
        becomes = case((frames.c.waits_for > 0, FrameState.BLOCKED), else_=FrameState.READY)
        counted = select(frames.c.job, becomes, func.count()).join(reached, is_frame)
        for job, state, count in connection.execute(counted.group_by(frames.c.job, becomes)):
            moved[job].update({FrameState.FAILED: -count, FrameState(state): count})
        fresh: dict[str, Any] = dict.fromkeys(("queue", "worker", "token", "started", "ended", "result", "reason"))
        connection.execute(
            update(frames)
            .where(is_frame)
            .values(
                state=becomes,
                starved=0,
                failures=0,
                not_before=0.0,
                result_size=None,
                pardoned=frames.c.issue,
                **fresh,
            )
        )
    return moved
