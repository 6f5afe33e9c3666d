"""What the server knows of its workers: their reports, the classes that they form, and how fast each class is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from distren.wire.frames import Report

REPORT_EVERY = 5.0
"""seconds between a worker's reports"""
SILENT_AFTER = 3 * REPORT_EVERY + 1
"""seconds: three missed reports; a worker that is silent for so long gets no more frames"""
HOLDS_FOR = 600.0
"""seconds after a worker's last report for which it counts as rendering what it had: a network may be cut that long,
and that a worker is gone which has not acknowledged its frame early is seen by the broker at once"""
_RATE_OVER = 5.0
"""seconds over which a class's speed is measured, and longer where it has finished fewer frames"""
_FEWEST = 16
"""frames over which a class's speed is measured at least"""
ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class WorkerClass:
    """The workers that share a queue. `room`: frames that they take at once; `slots`: frames they render at once."""

    queue: str
    pool: str
    renderers: Mapping[str, str]
    room: int
    slots: int


@dataclass(frozen=True)
class Seen:
    """A worker's last report, and when it came by the server's steady clock (seconds)."""

    report: Report
    at: float


class Speed:
    """How many frames per second a class finishes."""

    def __init__(self) -> None:
        self._finished: deque[tuple[float, int]] = deque()
        self._frames = 0

    def add(self, frames: int, now: float) -> None:
        self._finished.append((now, frames))
        self._frames += frames
        while now - self._finished[0][0] > _RATE_OVER and self._frames - self._finished[0][1] >= _FEWEST:
            self._frames -= self._finished.popleft()[1]

    def at(self, now: float) -> float | None:
        """Those after the first that is remembered, over the time since then: before the second nothing is known."""
        if len(self._finished) < 2:
            return None
        begun, first = self._finished[0]
        return (self._frames - first) / max(now - begun, 0.5)


class Fleet:
    """The workers that report. Times are of a steady clock, in seconds: a jump of the wall clock changes nothing."""

    def __init__(self) -> None:
        self.offers: dict[str, WorkerClass] = {}
        """what peers take, by the name that stands for a queue; `room` is how many frames, `slots` is 0"""
        self._seen: dict[str, Seen] = {}
        self._speeds: dict[str, Speed] = {}

    def hear(self, report: Report, now: float) -> bool:
        """Take a report; True if it changes what a class can take, or if the worker is new."""
        before = self._seen.get(report.worker)
        self._seen[report.worker] = Seen(report, now)
        if before is None or now - before.at > SILENT_AFTER:
            return True
        old = before.report
        return (old.queue, old.room, old.slots, old.state) != (report.queue, report.room, report.slots, report.state)

    def alive(self, now: float) -> list[Report]:
        """The reports of the workers that are at work."""
        return [
            seen.report for seen in self._seen.values() if now - seen.at <= SILENT_AFTER and seen.report.state != ENDED
        ]

    def is_alive(self, worker: str, now: float) -> bool:
        seen = self._seen.get(worker)
        return seen is not None and now - seen.at <= SILENT_AFTER and seen.report.state != ENDED

    def is_gone(self, worker: str, since: float, now: float) -> bool:
        """Whether the process is gone that began an attempt at `since` (its host's clock, seconds since 1970)."""
        seen = self._seen.get(worker)
        return seen is None or seen.report.started > since or not self.is_alive(worker, now)

    def last(self, worker: str) -> Seen | None:
        """The worker's last report, however old; None where it has not reported to this server process."""
        return self._seen.get(worker)

    def classes(self, now: float) -> dict[str, WorkerClass]:
        """The classes that have workers, by queue; a worker that drains takes nothing."""
        found: dict[str, WorkerClass] = {}
        for report in self.alive(now):
            taking = report.state == "working"
            before = found.get(report.queue)
            found[report.queue] = WorkerClass(
                queue=report.queue,
                pool=report.pool,
                renderers=report.renderers,
                room=(report.room if taking else 0) + (before.room if before else 0),
                slots=(report.slots if taking else 0) + (before.slots if before else 0),
            )
        return {queue: one for queue, one in found.items() if one.slots}

    def holds(self, job: int, frame: int, now: float) -> bool:
        """Whether any worker, by its last report, has the frame in its hands."""
        return any(
            now - seen.at <= HOLDS_FOR and (job, frame) in seen.report.held_frames for seen in self._seen.values()
        )

    def finished(self, queue: str, frames: int, now: float) -> None:
        """Count frames that a class has finished."""
        self._speeds.setdefault(queue, Speed()).add(frames, now)

    def rate(self, queue: str, now: float) -> float | None:
        """Frames per second that a class has finished lately; None where that is not known yet."""
        return self._speeds.get(queue, Speed()).at(now)

    def can_render(self, renderer: str, pool: str, now: float) -> bool:
        """Whether a worker of the pool has the renderer, here or at a peer that takes frames."""
        return bool(self.versions(renderer, pool, now)) or any(
            offer.pool == pool and renderer in offer.renderers for offer in self.offers.values()
        )

    def versions(self, renderer: str, pool: str, now: float) -> set[str]:
        """The versions of a renderer that workers of the pool have."""
        reports = (report for report in self.alive(now) if report.pool == pool)
        return {report.renderers[renderer] for report in reports if renderer in report.renderers}

    def allowed(self, capability: str, pool: str, now: float) -> list[Mapping[str, list[str] | None]]:
        """What workers of the pool have announced that jobs may say to this capability of theirs."""
        reports = (report for report in self.alive(now) if report.pool == pool)
        return [report.allows[capability] for report in reports if capability in report.allows]

    def renderers(self, now: float) -> dict[str, int]:
        """How many workers have each renderer."""
        found: dict[str, int] = {}
        for report in self.alive(now):
            for name in report.renderers:
                found[name] = found.get(name, 0) + 1
        return found

    def queues(self, now: float) -> set[str]:
        """The queues whose class has somebody alive, if only to finish what it holds."""
        return {report.queue for report in self.alive(now)}
