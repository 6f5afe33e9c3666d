"""Workers in the database: what they last reported, for the time after a restart and for `distren workers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select, update

from distren.storage.tables import workers


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker as it last reported. `memory` is in bytes, `seen` and `started` are seconds since 1970, UTC.

    `quarantine` says why its process gets no frames; `save` leaves it as it is.
    """

    name: str
    host: str
    pool: str
    queue: str
    renderers: Mapping[str, str]
    slots: int
    room: int
    state: str
    cores: int
    memory: int
    sandboxed: bool
    seen: float
    started: float = 0.0
    quarantine: str | None = None


def save(connection: Connection, record: WorkerRecord) -> None:
    """Insert or replace a worker's record."""
    values = asdict(record)
    del values["quarantine"]
    if connection.execute(update(workers).where(workers.c.name == record.name).values(values)).rowcount == 0:
        connection.execute(insert(workers).values(values))


def set_quarantine(connection: Connection, name: str, reason: str | None) -> None:
    """Say why a worker gets no frames; None: it does."""
    connection.execute(update(workers).where(workers.c.name == name).values(quarantine=reason))


def all_known(connection: Connection) -> list[WorkerRecord]:
    rows = connection.execute(select(workers).order_by(workers.c.name))
    return [WorkerRecord(**{**row._mapping, "sandboxed": bool(row.sandboxed)}) for row in rows]


def forget(connection: Connection, *, before: float) -> None:
    """Drop workers that have not reported since `before`."""
    connection.execute(delete(workers).where(workers.c.seen < before))
