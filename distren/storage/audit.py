"""What rows of different tables say of each other, and should say alike: for open jobs, found by counting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import Connection, and_, func, or_, select, update

from distren.domain.states import FRAME_ENDED, ISSUED, AttemptState, FrameState
from distren.storage.dependencies import Key
from distren.storage.tables import attempts, dependencies, frames

LOST = "nobody was at it any more"


def counts(connection: Connection, jobs: Collection[int]) -> Mapping[int, Counter[FrameState]]:
    """How many frames of each job really are in each state."""
    found: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
    query = select(frames.c.job, frames.c.state, func.count()).where(frames.c.job.in_(jobs))
    for job, state, count in connection.execute(query.group_by(frames.c.job, frames.c.state)):
        found[job][FrameState(state)] = count
    return found


def waits(connection: Connection, jobs: Collection[int]) -> Mapping[Key, int]:
    """The frames that say another number of needed frames to be open than there are, with the right number."""
    needed = frames.alias("needed")
    known = dependencies.join(
        needed, and_(needed.c.job == dependencies.c.of_job, needed.c.id == dependencies.c.of_frame)
    )
    of_frame = (dependencies.c.job == frames.c.job, dependencies.c.frame == frames.c.id)
    found = select(func.count()).select_from(known).where(*of_frame).scalar_subquery()
    undone = select(func.count()).select_from(known).where(*of_frame, needed.c.state != FrameState.DONE)
    count = undone.scalar_subquery()
    query = select(frames.c.job, frames.c.id, count).where(
        frames.c.job.in_(jobs),
        frames.c.needs > 0,
        frames.c.needs == found,  # what is needed of elsewhere can not be counted here
        frames.c.state.not_in(FRAME_ENDED),
        frames.c.waits_for != count,
    )
    return {(job, frame): count for job, frame, count in connection.execute(query)}


def set_waits(connection: Connection, key: Key, count: int) -> None:
    """Write how many of the frames that a frame needs are not done, and whether it waits for them."""
    state = FrameState.BLOCKED if count else FrameState.READY
    of_frame = (frames.c.job == key[0], frames.c.id == key[1])
    connection.execute(update(frames).where(*of_frame).values(waits_for=count))
    open_states = (FrameState.BLOCKED, FrameState.READY)
    connection.execute(update(frames).where(*of_frame, frames.c.state.in_(open_states)).values(state=state))


def end_attempts(connection: Connection, jobs: Collection[int], now: float) -> int:
    """End the attempts that are under way by their record alone; how many there were."""
    under_way = select(frames.c.token).where(
        frames.c.job == attempts.c.job, frames.c.id == attempts.c.frame, frames.c.token == attempts.c.token
    )
    done = connection.execute(
        update(attempts)
        .where(attempts.c.job.in_(jobs), attempts.c.state == AttemptState.RENDERING, ~under_way.exists())
        .values(state=AttemptState.LOST, ended=now, reason=LOST)
    )
    return done.rowcount


def clear_queues(connection: Connection, jobs: Collection[int]) -> int:
    """Frames that stand in no queue by their state name none; how many did."""
    stands = frames.c.state.in_(ISSUED)
    wrong = or_(and_(frames.c.queue.is_not(None), ~stands))
    return connection.execute(update(frames).where(frames.c.job.in_(jobs), wrong).values(queue=None)).rowcount
