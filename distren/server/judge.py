"""What a frame's earlier attempts mean for the next one: whom it avoids, and whether it is given up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from distren.domain import poison
from distren.domain.poison import Lost
from distren.domain.states import AttemptState
from distren.server.fleet import SILENT_AFTER, Fleet
from distren.server.lifecycle import Lifecycle
from distren.storage import attempts as attempt_rows
from distren.storage.attempts import AttemptRecord
from distren.storage.frames import Stored
from distren.wire.frames import LEAVES

log = logging.getLogger(__name__)

_MOST_AVOIDED = 4
"""workers: each that leaves a frame to others uses up some of the deliveries that a queue allows (20)"""


class Judge:
    """For one transaction. `kills`: workers that a frame may end; `up`: seconds since this process began to act.

    Before every worker that is there has had the time to report, no frame is given up.
    """

    def __init__(
        self, connection: Connection, lifecycle: Lifecycle, fleet: Fleet, *, steady: float, kills: int, up: float
    ) -> None:
        self._connection, self._lifecycle, self._fleet = connection, lifecycle, fleet
        self._steady, self._kills, self._settled = steady, kills, up > SILENT_AFTER

    def gives_up(self, stored: Stored) -> bool:
        """Fail a frame that has ended too many workers; whether it was one."""
        if not self._settled:
            return False
        reason = poison.verdict(self._lost(stored), self._kills)
        if reason is None:
            return False
        log.warning("frame given up: %s", reason, extra={"job": stored.frame.job, "frame": stored.frame.id})
        self._lifecycle.give_up(stored, reason)
        return True

    def advice(self, stored: Stored, queue: str) -> dict[str, Any]:
        """The fields of a Render that say what is to become of it on its way."""
        avoid = self._avoid(stored, queue)
        return {"avoid": avoid, "returns": self._kills + LEAVES * len(avoid)}

    def _past(self, stored: Stored) -> list[AttemptRecord]:
        frame = stored.frame
        if not stored.attempts:
            return []
        return attempt_rows.earlier(self._connection, frame.job, frame.id, after=frame.pardoned)

    def _lost(self, stored: Stored) -> Iterator[Lost]:
        for one in self._past(stored):
            if one.state is AttemptState.LOST:
                gone = self._fleet.is_gone(one.worker, one.started, self._steady)
                yield Lost(worker=one.worker, gone=gone, reason=one.reason)

    def _avoid(self, stored: Stored, queue: str) -> list[str]:
        """The workers that have failed a frame, as long as there are others of the class."""
        failed = {one.worker for one in self._past(stored) if one.state is AttemptState.FAILED}
        there = {one.worker for one in self._fleet.alive(self._steady) if one.queue == queue and one.state == "working"}
        return sorted(failed & there)[:_MOST_AVOIDED] if there - failed else []
