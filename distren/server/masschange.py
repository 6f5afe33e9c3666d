"""Calls off or opens again many frames of a job: in parts, each of which is a transaction of its own.

A million frames take seconds, and others are served between two parts. Each part leaves the database in order; what is
repeated, because the server died in between, changes only what is left.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from typing import Literal

from sqlalchemy import ColumnElement, Connection

from distren.domain import frame as frame_rules
from distren.domain.states import FRAME_ENDED, FrameState, JobState
from distren.server.lifecycle import Lifecycle, nothing_to_change
from distren.storage import dependencies, mass
from distren.storage import frames as frame_rows
from distren.storage.dependencies import BROKEN
from distren.wire.frames import Stop

PART = 5_000
"""frames of one part that are changed by a few statements: some 0.1 s, where a job has very many"""
_DEARER = 20
"""times that a frame takes of it that is looked at by itself, since others may need it"""
_PAGE = 5_000
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
        begun = self._wanted is None and self._lifecycle.job(self._job).state is JobState.CANCELLED
        if self._wanted is None and not begun:
            self._lifecycle.end(self._job)
            self._stop = None
        one_by_one, found = self._is_one_by_one(), False
        for part, count in self._parts(_OPEN, one_by_one=one_by_one):
            found = True
            if one_by_one:
                stored = frame_rows.chosen(self._connection, self._job, part, _OPEN)
                self._lifecycle.apply_to(stored, self._lifecycle.cancelled)
                issued = [one.frame.id for one in stored if one.frame.queue is not None]
            else:
                issued = self._lifecycle.cancel_many(self._job, part)
            if self._stop is not None:
                self._stop += issued
            yield count * (_DEARER if one_by_one else 1)
        if not found and begun:
            self._lifecycle.end(self._job)  # raises: it was not half done, but is over
        self._check_found(found or self._wanted is None)

    def _retry(self) -> Iterator[int]:
        states = BROKEN if self._wanted is None else FRAME_ENDED
        one_by_one, found = self._is_one_by_one(), False
        for part, count in self._parts(BROKEN if self._wanted is None else None, one_by_one=one_by_one):
            lifecycle, found = self._lifecycle, True
            if one_by_one:
                lifecycle.apply_to(frame_rows.chosen(self._connection, self._job, part), frame_rules.retried)
            else:
                lifecycle.retry_many(self._job, part, states)
                if self._wanted is not None:
                    mass.wait_no_longer(self._connection, self._job, part)
            lifecycle.open(self._job)
            yield count * (_DEARER if one_by_one else 1)
        if not one_by_one:
            found = (yield from self._settle()) or found
        self._check_found(found)

    def _settle(self) -> Generator[int, None, bool]:
        """What some frames need may still have failed, and be of another job; whether that is so."""
        after, found = -1, False
        while (page := dependencies.page(self._connection, self._job, after, _PAGE)) is not None:
            found = self._lifecycle.settle(self._job, after, page) or found
            after = page
            yield _PAGE
        return found

    def _check_found(self, found: bool) -> None:
        if not found:
            raise nothing_to_change(self._job, named=self._wanted is not None)

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
        while (found := cursor.next(self._connection, most)) is not None:
            yield found
