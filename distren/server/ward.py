"""Keeps the workers in quarantine: decides with domain/quarantine.py, and tells the workers until they heed it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from distren.domain.quarantine import Watch
from distren.errors import Conflict, NotFound
from distren.server.fleet import Fleet
from distren.server.lifecycle import Event
from distren.storage import workers as worker_rows
from distren.wire.codec import Message
from distren.wire.frames import Completed, Failed, Quarantine, Report

log = logging.getLogger(__name__)

QUARANTINED = "quarantined"
"""the state in the reports of a worker that heeds it"""


class Ward:
    """`tell` sends a message to all workers. A quarantine is of a process: it ends when the worker is restarted."""

    def __init__(self, fleet: Fleet, tell: Callable[[Message], None]) -> None:
        self._fleet, self._tell = fleet, tell
        self._watch = Watch()
        self._held: dict[str, tuple[float, str]] = {}
        self._fresh: dict[str, str | None] = {}

    def resume(self, connection: Connection) -> None:
        """After a start: whom an earlier process has put into quarantine."""
        for record in worker_rows.all_known(connection):
            if record.quarantine is not None:
                self._held[record.name] = (record.started, record.quarantine)

    def hear(self, events: Iterable[Event], steady: float) -> bool:
        """Events that are committed; whether somebody has to be put into quarantine because of them."""
        for event in events:
            if isinstance(event, Completed):
                self._watch.rendered(event.worker, (event.job, event.frame))
            elif isinstance(event, Failed):
                self._watch.failed(event.worker, (event.job, event.frame), event.reason, permanent=event.permanent)
        for worker in self._watch.suspects():
            report = self._report(worker, steady)
            reason = self._watch.verdict(worker)
            if report is None or reason is None or worker in self._held or not self._others(report, steady):
                continue
            log.warning(
                "worker %s is quarantined: %s; 'distren workers release %s' lets it go on", worker, reason, worker
            )
            self._held[worker] = (report.started, reason)
            self._fresh[worker] = reason
            self._tell(Quarantine(worker=worker, reason=reason[:1_000]))
        return bool(self._fresh)

    def check(self, report: Report) -> None:
        """A worker reports: tell it again what it has not heard, and forget what a new process has not done."""
        held = self._held.get(report.worker)
        if held is not None and report.started > held[0]:
            log.info("worker %s has been restarted, and is in quarantine no more", report.worker)
            self._free(report.worker)
            held = None
        if held is not None and report.state == "working":
            self._tell(Quarantine(worker=report.worker, reason=held[1][:1_000]))
        if held is None and report.state == QUARANTINED:
            self._tell(Quarantine(worker=report.worker, reason=None))

    def release(self, worker: str) -> None:
        """Let a worker go on. Raises NotFound, and Conflict for one that is not in quarantine."""
        if self._fleet.last(worker) is None and worker not in self._held:
            raise NotFound(f"there is no worker '{worker}': 'distren workers' lists them")
        if worker not in self._held:
            raise Conflict(f"worker '{worker}' is not in quarantine")
        log.info("worker %s is released from quarantine", worker)
        self._free(worker)
        self._tell(Quarantine(worker=worker, reason=None))

    def save(self, connection: Connection) -> None:
        """Write what has changed; belongs into whatever transaction comes next."""
        for worker, reason in self._fresh.items():
            worker_rows.set_quarantine(connection, worker, reason)

    def saved(self) -> None:
        """That transaction is committed."""
        self._fresh.clear()

    def reason(self, worker: str) -> str | None:
        """Why a worker is in quarantine; None for one that is not."""
        held = self._held.get(worker)
        return None if held is None else held[1]

    def _free(self, worker: str) -> None:
        self._held.pop(worker, None)
        self._watch.forgive(worker)
        self._fresh[worker] = None

    def _report(self, worker: str, steady: float) -> Report | None:
        seen = self._fleet.last(worker)
        return seen.report if seen is not None and self._fleet.is_alive(worker, steady) else None

    def _others(self, report: Report, steady: float) -> bool:
        """Whether the class has another worker to go on with."""
        return any(
            one.queue == report.queue and one.worker != report.worker and one.state == "working"
            for one in self._fleet.alive(steady)
        )
