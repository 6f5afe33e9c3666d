"""Peers in the database: who they are, what we owe them, and how far we have dealt with what they owe us.

Messages that must arrive are numbered from 1 under an *epoch*; the receiver takes them in order, each once, and has to
remember no more than the number of the last one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from distren.errors import Conflict, NotFound
from distren.storage.tables import jobs, peer_jobs, peer_outbox, peers

_OPEN = ("active", "paused")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server that this one is associated with. Times are seconds since 1970, UTC.

    `address` is the amqp:// URL, password included, through which we reach its broker: None where it reaches ours, with
    the password `secret`. `instance` tells it from another server of the same name, once it has been heard.
    """

    name: str
    address: str | None
    secret: str | None
    instance: str | None
    created: float
    epoch: str
    sent: int
    their_epoch: str | None
    handled: int
    software: str | None
    seen: float | None


@dataclass(frozen=True, kw_only=True)
class OwedMessage:
    """A message that a peer has not confirmed yet."""

    number: int
    type: str
    body: bytes
    created: float


def add(connection: Connection, name: str, *, address: str | None, secret: str | None, now: float) -> Peer:
    """Record an association. Raises Conflict where there is one with a server of this name."""
    if find(connection, name) is not None:
        raise Conflict(f"'{name}' is a peer already: 'distren peer remove {name}' ends that")
    values = {"name": name, "address": address, "secret": secret, "created": now, "epoch": _epoch(now)}
    connection.execute(insert(peers).values(values))
    return by_name(connection, name)


def remove(connection: Connection, name: str) -> Peer:
    """Forget a peer and what it is owed; who it was. Raises NotFound."""
    found = by_name(connection, name)
    connection.execute(delete(peer_outbox).where(peer_outbox.c.peer == name))
    connection.execute(delete(peer_jobs).where(peer_jobs.c.peer == name))
    connection.execute(delete(peers).where(peers.c.name == name))
    return found


def every(connection: Connection) -> list[Peer]:
    """All peers by name."""
    return [_peer(row) for row in connection.execute(select(peers).order_by(peers.c.name))]


def find(connection: Connection, name: str) -> Peer | None:
    row = connection.execute(select(peers).where(peers.c.name == name)).one_or_none()
    return None if row is None else _peer(row)


def by_name(connection: Connection, name: str) -> Peer:
    """Raises NotFound."""
    found = find(connection, name)
    if found is None:
        raise NotFound(f"there is no peer '{name}': 'distren peers' lists them")
    return found


def change(connection: Connection, name: str, **values: Any) -> None:
    """Set some of a peer's columns."""
    connection.execute(update(peers).where(peers.c.name == name).values(values))


# -- what we owe ------------------------------------------------------------------------------------------------------


def owe(connection: Connection, name: str, *, type: str, body: bytes, now: float) -> int:  # noqa: A002
    """Write a message that must reach the peer; its number. Raises NotFound for no such peer."""
    number = by_name(connection, name).sent + 1
    connection.execute(insert(peer_outbox).values(peer=name, number=number, type=type, body=body, created=now))
    change(connection, name, sent=number)
    return number


def owed(connection: Connection, name: str, *, above: int, limit: int) -> list[OwedMessage]:
    """The oldest messages with a number above `above` that the peer has not confirmed."""
    query = (
        select(peer_outbox.c.number, peer_outbox.c.type, peer_outbox.c.body, peer_outbox.c.created)
        .where(peer_outbox.c.peer == name, peer_outbox.c.number > above)
        .order_by(peer_outbox.c.number)
        .limit(limit)
    )
    return [OwedMessage(**row._mapping) for row in connection.execute(query)]


def count_owed(connection: Connection, name: str) -> int:
    query = select(func.count()).select_from(peer_outbox).where(peer_outbox.c.peer == name)
    return connection.execute(query).scalar_one()


def confirmed(connection: Connection, name: str, *, below: int) -> None:
    """The peer has dealt with all messages below this number."""
    connection.execute(delete(peer_outbox).where(peer_outbox.c.peer == name, peer_outbox.c.number < below))


def renumber(connection: Connection, name: str, now: float) -> str:
    """Begin a new epoch: what is still owed is numbered from 1 again. The epoch's name."""
    waiting = owed(connection, name, above=0, limit=2**31)
    connection.execute(delete(peer_outbox).where(peer_outbox.c.peer == name))
    rows = [{**vars(one), "peer": name, "number": number} for number, one in enumerate(waiting, start=1)]
    if rows:
        connection.execute(insert(peer_outbox), rows)
    epoch = _epoch(now, by_name(connection, name).epoch)
    change(connection, name, epoch=epoch, sent=len(rows))
    return epoch


# -- whose jobs are whose ---------------------------------------------------------------------------------------------


def note_job(connection: Connection, name: str, job: int) -> None:
    """A job came from this peer."""
    if connection.execute(select(peer_jobs.c.job).where(peer_jobs.c.job == job)).one_or_none() is None:
        connection.execute(insert(peer_jobs).values(job=job, peer=name))


def open_jobs(connection: Connection, name: str) -> int:
    """How many jobs that came from this peer have not ended."""
    query = (
        select(func.count())
        .select_from(peer_jobs.join(jobs, jobs.c.id == peer_jobs.c.job))
        .where(peer_jobs.c.peer == name, jobs.c.state.in_(_OPEN))
    )
    return connection.execute(query).scalar_one()


def _epoch(now: float, before: str = "") -> str:
    """A new epoch's name: 16 hexadecimal digits of time (ms), 16 random ones; it sorts after `before`."""
    moment = max(round(now * 1000), int(before[:16], 16) + 1 if before else 0)
    return f"{moment:016x}{secrets.token_hex(8)}"


def _peer(row: Row[Any]) -> Peer:
    return Peer(**row._mapping)
