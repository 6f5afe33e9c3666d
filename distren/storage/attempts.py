"""Attempts in the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from distren.domain.states import AttemptState
from distren.storage.tables import attempts

_FIELDS = ("state", "ended", "seconds", "reason", "log", "memory", "processor", "result", "result_size")
_UPDATE = (
    update(attempts)
    .where(attempts.c.token == bindparam("of_token"))
    .values({name: bindparam(name) for name in _FIELDS})
)
_ADD = insert(attempts)
_WITHOUT_LOG = select(*(column for column in attempts.c if column.name != "log"))
_LOAD = _WITHOUT_LOG.where(attempts.c.token.in_(bindparam("tokens", expanding=True)))


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One try at a frame. Times are seconds since 1970, UTC; `log` is zlib-compressed text.

    `reason` says why it failed, or what is strange about its result; `memory` is the most that it held at once, in
    bytes, `processor` its seconds of processor time.
    `file` is the file id of its result, the digest `result` where it is the recorded one; the log's id is the next.
    """

    token: str
    job: int
    frame: int
    number: int
    issue: int
    worker: str
    state: AttemptState
    started: float
    ended: float | None = None
    seconds: float | None = None
    reason: str | None = None
    log: bytes | None = None
    memory: int | None = None
    processor: float | None = None
    file: int | None = None
    result: str | None = None
    result_size: int | None = None


def load(connection: Connection, tokens: Collection[str]) -> dict[str, AttemptRecord]:
    """The attempts with these tokens, by token, without their logs."""
    found: dict[str, AttemptRecord] = {}
    wanted = list(tokens)
    for start in range(0, len(wanted), 5_000):
        for row in connection.execute(_LOAD, {"tokens": wanted[start : start + 5_000]}):
            found[row.token] = _record(row)
    return found


def save(connection: Connection, new: Collection[AttemptRecord], changed: Collection[AttemptRecord]) -> None:
    """Insert `new` attempts, and update the `changed` ones."""
    if new:
        connection.execute(_ADD, [vars(record) for record in new])
    if changed:
        rows = [{"of_token": record.token, **{name: getattr(record, name) for name in _FIELDS}} for record in changed]
        connection.execute(_UPDATE, rows)


def of_frame(connection: Connection, job: int, frame: int) -> list[AttemptRecord]:
    """The attempts at a frame, oldest first, with their logs."""
    query = select(attempts).where(attempts.c.job == job, attempts.c.frame == frame).order_by(attempts.c.number)
    return [_record(row) for row in connection.execute(query)]


def earlier(connection: Connection, job: int, frame: int, *, after: int) -> list[AttemptRecord]:
    """The attempts at a frame by issues above `after`, oldest first, without their logs."""
    of_frame = (attempts.c.job == job, attempts.c.frame == frame, attempts.c.issue > after)
    return [_record(row) for row in connection.execute(_WITHOUT_LOG.where(*of_frame).order_by(attempts.c.number))]


def last_trouble(connection: Connection, job: int, frames: Collection[int]) -> dict[int, float]:
    """When the latest attempt ended that failed or was lost, by frame; of those of `frames` that had one."""
    found: dict[int, float] = {}
    wanted = list(frames)
    for start in range(0, len(wanted), 5_000):
        query = (
            select(attempts.c.frame, func.max(attempts.c.ended).label("last"))
            .where(attempts.c.job == job, attempts.c.frame.in_(wanted[start : start + 5_000]))
            .where(attempts.c.state.in_((AttemptState.FAILED, AttemptState.LOST)))
            .group_by(attempts.c.frame)
        )
        found.update((row.frame, row.last) for row in connection.execute(query))
    return found


def done_by_worker(connection: Connection) -> dict[str, int]:
    """How many frames each worker has rendered."""
    query = (
        select(attempts.c.worker, func.count().label("done"))
        .where(attempts.c.state == AttemptState.DONE)
        .group_by(attempts.c.worker)
    )
    return {row.worker: row.done for row in connection.execute(query)}


def _record(row: Any) -> AttemptRecord:
    values = dict(row._mapping)
    values["state"] = AttemptState(values["state"])
    return AttemptRecord(**values)
