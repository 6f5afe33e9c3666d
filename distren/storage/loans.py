"""Frames of ours that peers have been lent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from distren.domain import lending
from distren.domain.states import JOB_ENDED, AttemptState, FrameState, JobState
from distren.storage.tables import attempts, frames, jobs, loan_jobs, loan_results, loans


@dataclass(frozen=True, kw_only=True)
class Loan:
    """A frame that a peer has: `issue` is the one that it was lent with last."""

    job: int
    frame: int
    peer: str
    issue: int


@dataclass(frozen=True, kw_only=True)
class LoanedJob:
    """A job of which a peer has, or had, frames; `priority` and `ended` are as they are now."""

    job: int
    peer: str
    priority: int
    ended: bool


def add(connection: Connection, peer: str, job: int, priority: int, issues: Iterable[tuple[int, int]]) -> None:
    """A peer is lent frames of a job: (frame, issue)."""
    for frame, issue in issues:
        is_here = (loans.c.job == job, loans.c.frame == frame, loans.c.peer == peer)
        if not connection.execute(update(loans).where(*is_here).values(issue=issue)).rowcount:
            connection.execute(insert(loans).values(job=job, frame=frame, peer=peer, issue=issue))
    is_known = select(loan_jobs.c.job).where(loan_jobs.c.job == job, loan_jobs.c.peer == peer)
    if connection.execute(is_known).first() is None:
        connection.execute(insert(loan_jobs).values(job=job, peer=peer, priority=priority))


def remove(connection: Connection, found: Iterable[Loan]) -> None:
    for one in found:
        chosen = (loans.c.job == one.job, loans.c.frame == one.frame, loans.c.peer == one.peer)
        connection.execute(delete(loans).where(*chosen, loans.c.issue <= one.issue))


def of_peer(connection: Connection, peer: str) -> list[Loan]:
    """What a peer has."""
    return [Loan(**row._mapping) for row in connection.execute(select(loans).where(loans.c.peer == peer))]


def count(connection: Connection) -> dict[str, int]:
    """How many frames each peer has."""
    return dict(connection.execute(select(loans.c.peer, func.count()).group_by(loans.c.peer)).all())


def unwanted(connection: Connection) -> list[Loan]:
    """What peers have although the frame has ended, or has been taken back from them."""
    query = select(loans, frames.c.queue, frames.c.issue.label("now")).join_from(
        loans, frames, (frames.c.job == loans.c.job) & (frames.c.id == loans.c.frame)
    )
    return [
        Loan(job=row.job, frame=row.frame, peer=row.peer, issue=row.issue)
        for row in connection.execute(query)
        if lending.peer_of(row.queue) != row.peer or row.now != row.issue
    ]


def waiting_of_paused(connection: Connection) -> list[Loan]:
    """What peers have, and as far as is known have not begun, of jobs that are paused."""
    query = (
        select(loans)
        .join_from(loans, frames, (frames.c.job == loans.c.job) & (frames.c.id == loans.c.frame))
        .join(jobs, jobs.c.id == loans.c.job)
        .where(jobs.c.state == JobState.PAUSED, frames.c.state == FrameState.QUEUED)
    )
    return [Loan(**row._mapping) for row in connection.execute(query)]


def has_job(connection: Connection, peer: str, job: int) -> bool:
    """Whether the peer has been lent frames of the job, and has not been told that it has ended."""
    query = select(loan_jobs.c.job).where(loan_jobs.c.job == job, loan_jobs.c.peer == peer)
    return connection.execute(query).first() is not None


def changed_jobs(connection: Connection) -> list[LoanedJob]:
    """Jobs of which a peer does not know the priority, or that they have ended."""
    query = select(loan_jobs.c.job, loan_jobs.c.peer, loan_jobs.c.priority, jobs.c.priority.label("now"), jobs.c.state)
    query = query.outerjoin_from(loan_jobs, jobs, jobs.c.id == loan_jobs.c.job)
    is_news = or_(jobs.c.id.is_(None), jobs.c.priority != loan_jobs.c.priority, jobs.c.state.in_(JOB_ENDED))
    return [
        LoanedJob(
            job=row.job,
            peer=row.peer,
            priority=row.priority if row.now is None else row.now,
            ended=row.state is None or row.state in JOB_ENDED,
        )
        for row in connection.execute(query.where(is_news))
    ]


def told_of_job(connection: Connection, one: LoanedJob) -> None:
    """The peer knows now."""
    chosen = (loan_jobs.c.job == one.job, loan_jobs.c.peer == one.peer)
    if one.ended:
        connection.execute(delete(loan_jobs).where(*chosen))
    else:
        connection.execute(update(loan_jobs).where(*chosen).values(priority=one.priority))


def forget_peers(connection: Connection, known: Collection[str]) -> None:
    """What is noted about other peers than these goes."""
    for table in (loans, loan_jobs, loan_results):
        connection.execute(delete(table).where(table.c.peer.not_in(list(known))))


# -- results that are on their way ------------------------------------------------------------------------------------


def keep_result(connection: Connection, peer: str, token: str, body: bytes) -> None:
    """A result whose tarball is still at the peer."""
    if connection.execute(select(loan_results.c.token).where(loan_results.c.token == token)).first() is None:
        connection.execute(insert(loan_results).values(token=token, peer=peer, body=body))


def kept_results(connection: Connection) -> list[tuple[str, str, bytes]]:
    """Token, peer and message of the results that are still to be fetched."""
    return [(row.token, row.peer, row.body) for row in connection.execute(select(loan_results))]


def drop_result(connection: Connection, token: str) -> None:
    connection.execute(delete(loan_results).where(loan_results.c.token == token))


def mean_seconds(connection: Connection, job: int) -> float | None:
    """How long the attempts at a job's frames took that succeeded; None where there is none yet."""
    query = select(func.avg(attempts.c.seconds)).where(attempts.c.job == job, attempts.c.state == AttemptState.DONE)
    found: float | None = connection.execute(query).scalar()
    return found
