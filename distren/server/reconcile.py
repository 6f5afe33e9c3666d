"""Finds frames that are issued but that nobody holds, and gives them back their turn.

Most losses mend themselves: a broker puts a dead worker's delivery back at once. What is left (a broker that lost its
data, a worker that acknowledged a long frame early and died) shows as a frame that no queue and no worker has.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from distren import urls
from distren.domain import lending
from distren.domain.states import FrameState
from distren.server.fleet import REPORT_EVERY, Fleet
from distren.server.lifecycle import Lifecycle
from distren.storage.frames import Stored

log = logging.getLogger(__name__)

REISSUE_AFTER = timedelta(seconds=45)
"""nine missed reports: longer than a worker or a broker takes to come back after a restart"""
EARLY_ACKNOWLEDGEMENT = timedelta(minutes=20)
"""a worker acknowledges a frame that takes longer than this, so the broker no longer keeps it; see worker/agent.py"""


class Reconciler:
    """Watches the issued frames from tick to tick. Times are of the steady clock, in seconds."""

    def __init__(self, server: str, fleet: Fleet) -> None:
        self._server, self._fleet = server, fleet
        self._suspects: dict[tuple[int, int, int], float] = {}
        self._queued: dict[str, int] = {}

    def counted(self, queue: str, messages: int) -> None:
        """The broker says how many messages wait in a queue."""
        self._queued[queue] = messages

    def check(self, lifecycle: Lifecycle, issued: list[Stored], *, now: float, steady: float) -> int:
        """Take back what nobody holds; returns how many frames that were."""
        suspects: dict[tuple[int, int, int], float] = {}
        mended = 0
        for stored in issued:
            frame = stored.frame
            reason = self._suspicion(stored)
            if reason is None:
                continue
            key = (frame.job, frame.id, frame.issue)
            since = self._suspects.get(key, steady)
            if steady - since < REISSUE_AFTER.total_seconds():
                suspects[key] = since
                continue
            mended += 1
            url = urls.Url(server=self._server, job=frame.job, frame=frame.id)
            log.warning("frame taken back: %s", reason, extra={"frame": str(url), "issue": frame.issue})
            if self._broker_has_it(stored, now):
                lifecycle.requeue(stored, reason)
            else:
                lifecycle.take_back(stored, reason)
        self._suspects = suspects
        self._queued.clear()
        return mended

    def _suspicion(self, stored: Stored) -> str | None:
        """Why the frame may have been lost; None where all is well."""
        frame = stored.frame
        if lending.peer_of(frame.queue) is not None or self._fleet.holds(frame.job, frame.id):
            return None
        if frame.state is FrameState.QUEUED:
            return "no queue and no worker had it" if self._queued.get(frame.queue or "") == 0 else None
        return f"worker {frame.worker} no longer had it"

    def _broker_has_it(self, stored: Stored, now: float) -> bool:
        """A worker that is gone gave its delivery back, unless it had acknowledged it early."""
        frame = stored.frame
        if frame.state is not FrameState.RENDERING or frame.worker is None or frame.started is None:
            return False
        last = self._fleet.last(frame.worker)
        reports = last is not None and last.at > self._suspects.get((frame.job, frame.id, frame.issue), 0.0)
        return not reports and now - frame.started < EARLY_ACKNOWLEDGEMENT.total_seconds() - REPORT_EVERY
