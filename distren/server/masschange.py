"""Calls off or opens again many frames of a job: in parts, each of which is a transaction of its own.

A million frames take seconds, and others are served between two parts. Each part leaves the database in order; what is
repeated, because the server died in between, changes only what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal

from sqlalchemy import ColumnElement, Connection

from distren.domain import frame as frame_rules
from distren.domain.states import FRAME_ENDED, FrameState
from distren.server.lifecycle import Lifecycle, nothing_to_change
from distren.storage import dependencies, mass
from distren.storage import frames as frame_rows
from distren.storage.dependencies import BROKEN
from distren.wire.frames import Stop

PART = 12_000
"""frames of one part that are changed by a few statements: some 0.1 s"""
_DEARER = 20
"""times that a frame takes of it that is looked at by itself, since others may need it"""
_PAGE = 20_000
"""frames needed by those of one part that is settled"""
_OPEN = frozenset(FrameState) - FRAME_ENDED


class MassChange:
    """Of all frames of a job, or of those `wanted`. Raises NotFound and Conflict."""

    def __init__(self, job: int, action: Literal["cancel", "retry"], wanted: Iterable[range] | None = None) -> None:
        self._job, self._wanted = job, wanted if wanted is None else list(wanted)
        self._stop: list[int] | None = []
        self._steps = self._cancel() if action == "cancel" else self._retry()
        self._connection: Connection
        self._lifecycle: Lifecycle

    def part(self, connection: Connection, lifecycle: Lifecycle, most: int = PART) -> bool:
        """Make a part of the change, which the caller saves; whether it was the last."""
        self._connection, self._lifecycle = connection, lifecycle
        changed = 0
        for cost in self._steps:
            changed += cost
            if changed >= most:
                return False
        return True

    def stop(self) -> Stop | None:
        """What workers are to be told after the part that was just made."""
        stop, self._stop = self._stop, []
        return Stop(job=self._job, frames=stop) if stop or stop is None else None

    # -- each of these changes some frames and yields what it cost, in frames ----------------------------------------

    def _cancel(self) -> Iterator[int]:
        if self._wanted is None:
            self._lifecycle.end(self._job)
            self._stop = None
        one_by_one = self._is_one_by_one()
        for part, count in self._parts(_OPEN, one_by_one=one_by_one):
            if one_by_one:
                stored = frame_rows.chosen(self._connection, self._job, part, _OPEN)
                self._lifecycle.apply_to(stored, self._lifecycle.cancelled)
                issued = [one.frame.id for one in stored if one.frame.queue is not None]
            else:
                issued = self._lifecycle.cancel_many(self._job, part)
            if self._stop is not None:
                self._stop += issued
            yield count * (_DEARER if one_by_one else 1)

    def _retry(self) -> Iterator[int]:
        states = BROKEN if self._wanted is None else FRAME_ENDED
        one_by_one = self._is_one_by_one()
        for part, count in self._parts(BROKEN if self._wanted is None else None, one_by_one=one_by_one):
            lifecycle = self._lifecycle
            if one_by_one:
                lifecycle.apply_to(frame_rows.chosen(self._connection, self._job, part), frame_rules.retried)
            else:
                lifecycle.retry_many(self._job, part, states)
                mass.wait_no_longer(self._connection, self._job, part)
            lifecycle.open(self._job)
            yield count * (_DEARER if one_by_one else 1)
        if not one_by_one:
            yield from self._settle()

    def _settle(self) -> Iterator[int]:
        """What some frames need may still have failed, and be of another job."""
        after = -1
        while (page := dependencies.page(self._connection, self._job, after, _PAGE)) is not None:
            self._lifecycle.settle(self._job, after, page)
            after = page
            yield _PAGE

    def _is_one_by_one(self) -> bool:
        """Whether only some frames of a job are meant whose frames need one another, or are needed."""
        if self._wanted is None:
            return False
        return self._lifecycle.job(self._job).needed or not mass.is_alone(self._connection, self._job)

    def _parts(
        self, states: Collection[FrameState] | None, *, one_by_one: bool
    ) -> Iterator[tuple[ColumnElement[bool], int]]:
        cursor = mass.Cursor(self._job, self._wanted, states)
        most = PART // _DEARER if one_by_one else PART // 2
        found = cursor.next(self._connection, most)
        if found is None and not (states is _OPEN and self._wanted is None):
            raise nothing_to_change(self._job, named=self._wanted is not None)
        while found is not None:
            yield found
            found = cursor.next(self._connection, most)
