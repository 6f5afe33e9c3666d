"""Finds frames that are issued but that nobody holds, and gives them back their turn.

Most losses mend themselves: a broker puts a dead worker's delivery back at once. What is left (a broker that lost its
data, a worker that acknowledged a long frame early and died) shows as a frame that no queue and no worker has.
"""

from __future__ import annotations

import logging
from collections import defaultdict
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
AFTER_A_LOSS = timedelta(seconds=2 * REPORT_EVERY)
"""instead, once the broker has lost its data: workers connect again within 5 s, and report as they do"""
EARLY_ACKNOWLEDGEMENT = timedelta(minutes=20)
"""a worker acknowledges a frame that takes longer than this, so the broker no longer keeps it; see worker/agent.py"""

Key = tuple[int, int, int]
"""job, frame and issue"""


class Reconciler:
    """Watches the issued frames from tick to tick. Times are of the steady clock, in seconds."""

    def __init__(self, server: str, fleet: Fleet) -> None:
        self._server, self._fleet = server, fleet
        self._suspects: dict[Key, float] = {}
        self._queued: dict[str, int] = {}
        self._seen: dict[Key, int] = {}
        self._ticks = 0
        self._at_the_loss: set[Key] = set()
        self._lost = False

    def counted(self, queue: str, messages: int) -> None:
        """The broker says how many messages wait in a queue."""
        self._queued[queue] = messages

    def broker_lost(self) -> None:
        """The broker has lost its data: what is rendered now was delivered by one that knows nothing of it any more."""
        self._lost = True

    def check(self, lifecycle: Lifecycle, issued: list[Stored], *, now: float, steady: float) -> int:
        """Take back what nobody holds; returns how many frames that were."""
        keys = [_key(stored) for stored in issued]
        if self._lost:
            self._lost, self._at_the_loss = False, set(keys)
        self._at_the_loss.intersection_update(keys)
        missing = self._missing(issued, steady)
        suspects: dict[Key, float] = {}
        mended = 0
        for stored, key in zip(issued, keys, strict=True):
            reason = self._suspicion(stored, missing, steady)
            if reason is None:
                continue
            frame, since = stored.frame, self._suspects.get(key, steady)
            after = AFTER_A_LOSS if key in self._at_the_loss else REISSUE_AFTER
            if steady - since < after.total_seconds():
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

    def _missing(self, issued: list[Stored], steady: float) -> set[Key]:
        """The frames that should wait in a queue and do not.

        A queue that holds fewer messages than frames were issued to it has lost some: those that were there first, as
        whatever stands behind them is delivered later.
        """
        self._ticks += 1
        waiting: defaultdict[str, list[Key]] = defaultdict(list)
        for stored in issued:
            frame = stored.frame
            if frame.state is FrameState.QUEUED and not self._fleet.holds(frame.job, frame.id, steady):
                waiting[frame.queue or ""].append(_key(stored))
        self._seen = {key: self._seen.get(key, self._ticks) for keys in waiting.values() for key in keys}
        found: set[Key] = set()
        for queue, keys in waiting.items():
            if queue in self._queued:
                keys.sort(key=lambda key: self._seen[key])
                found.update(keys[: max(len(keys) - self._queued[queue], 0)])
        return found

    def _suspicion(self, stored: Stored, missing: set[Key], steady: float) -> str | None:
        """Why the frame may have been lost; None where all is well."""
        frame = stored.frame
        if lending.peer_of(frame.queue) is not None:
            return None
        if frame.state is FrameState.QUEUED:
            return "no queue and no worker had it" if _key(stored) in missing else None
        return None if self._fleet.holds(frame.job, frame.id, steady) else f"worker {frame.worker} no longer had it"

    def _broker_has_it(self, stored: Stored, now: float) -> bool:
        """A worker that is gone gave its delivery back, unless it had acknowledged it early."""
        frame, key = stored.frame, _key(stored)
        if frame.state is not FrameState.RENDERING or frame.worker is None or frame.started is None:
            return False
        last = self._fleet.last(frame.worker)
        reports = last is not None and last.at > self._suspects.get(key, 0.0)
        young = now - frame.started < EARLY_ACKNOWLEDGEMENT.total_seconds() - REPORT_EVERY
        return young and not reports and key not in self._at_the_loss


def _key(stored: Stored) -> Key:
    return stored.frame.job, stored.frame.id, stored.frame.issue
