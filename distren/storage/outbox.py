"""What a committed change owes to the broker: written in the change's transaction, removed once it is confirmed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from distren.storage.tables import outbox

# Made once: each turn of a server asks these, and to make one takes as long as to have it answered.
_HIGHEST = select(func.max(outbox.c.id))
_ADD = insert(outbox)
_REMOVE = delete(outbox).where(outbox.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A message to publish; `id` is its row."""

    id: int
    exchange: str
    key: str
    body: bytes


def add(connection: Connection, messages: Sequence[tuple[str, str, bytes]]) -> list[Owed]:
    """Write messages (exchange, routing key, body); only one process writes here, so the ids can be chosen here."""
    if not messages:
        return []
    highest: int = connection.execute(_HIGHEST).scalar() or 0
    owed = [
        Owed(id=highest + number, exchange=exchange, key=key, body=body)
        for number, (exchange, key, body) in enumerate(messages, start=1)
    ]
    connection.execute(_ADD, [vars(one) for one in owed])
    return owed


def remove(connection: Connection, ids: Collection[int]) -> None:
    """The broker has these."""
    gone = list(ids)
    for start in range(0, len(gone), 5_000):
        connection.execute(_REMOVE, {"ids": gone[start : start + 5_000]})


def waiting(connection: Connection) -> list[Owed]:
    """What is still owed, oldest first."""
    return [Owed(**row._mapping) for row in connection.execute(select(outbox).order_by(outbox.c.id))]
