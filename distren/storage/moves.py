"""Jobs that were handed over to a peer, or are on their way there. What became of a job is known for ever."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from distren.storage.tables import dependencies, guests, moves, watches


class MoveState(StrEnum):
    LEAVING = "leaving"  #: its files go to the peer; it can still be kept here
    SENT = "sent"  #: the peer has been told to take it over, and has not answered
    MOVED = "moved"  #: it is the peer's now
    REFUSED = "refused"  #: the peer would not have it; it goes on here


@dataclass(frozen=True, kw_only=True)
class MoveRecord:
    """`became` is the job's id at the peer once it is there; `error` and `reason` say why it was refused."""

    job: int
    peer: str
    key: str
    state: MoveState
    paused: bool
    became: int | None
    error: str | None
    reason: str | None


def begin(connection: Connection, job: int, peer: str, key: str, *, paused: bool) -> None:
    """The job sets out; an earlier move that was refused is forgotten."""
    connection.execute(delete(moves).where(moves.c.job == job, moves.c.state == MoveState.REFUSED))
    values = {"job": job, "peer": peer, "key": key, "state": MoveState.LEAVING, "paused": int(paused)}
    connection.execute(insert(moves).values(values))


def find(connection: Connection, job: int) -> MoveRecord | None:
    row = connection.execute(select(moves).where(moves.c.job == job)).one_or_none()
    return None if row is None else _record(row)


def every(connection: Connection, *states: MoveState) -> list[MoveRecord]:
    """The moves in these states, oldest job first."""
    query = select(moves).where(moves.c.state.in_(states)).order_by(moves.c.job)
    return [_record(row) for row in connection.execute(query)]


def change(
    connection: Connection,
    job: int,
    state: MoveState,
    *,
    became: int | None = None,
    error: str | None = None,
    reason: str | None = None,
) -> None:
    values = {"state": state, "became": became, "error": error, "reason": reason}
    connection.execute(update(moves).where(moves.c.job == job).values(values))


def forget(connection: Connection, job: int) -> None:
    """The job stays here after all."""
    connection.execute(delete(moves).where(moves.c.job == job))


def without_peer(connection: Connection, known: Collection[str]) -> list[MoveRecord]:
    """The jobs that are on their way to servers that are no peers any more."""
    under_way = (MoveState.LEAVING, MoveState.SENT)
    query = select(moves).where(moves.c.state.in_(under_way), moves.c.peer.not_in(list(known)))
    return [_record(row) for row in connection.execute(query)]


# -- what keeps a job here --------------------------------------------------------------------------------------------


def is_guest(connection: Connection, job: int) -> bool:
    """Whether the job holds frames that a peer has lent us."""
    return connection.execute(select(guests.c.job).where(guests.c.job == job)).first() is not None


def needed_job(connection: Connection, job: int) -> int | None:
    """Another job of which this one needs frames."""
    query = select(dependencies.c.of_job).where(dependencies.c.job == job, dependencies.c.of_job != job).limit(1)
    found: int | None = connection.execute(query).scalar()
    return found


def watching_peer(connection: Connection, job: int) -> str | None:
    """A peer whose frames need frames of this job."""
    found: str | None = connection.execute(select(watches.c.peer).where(watches.c.job == job).limit(1)).scalar()
    return found


def _record(row: Row[Any]) -> MoveRecord:
    values = {**row._mapping, "state": MoveState(row.state), "paused": bool(row.paused)}
    return MoveRecord(**values)
