"""How many frames a worker takes at once: its slots, and for short frames a few ahead so that no slot waits.

RabbitMQ counts prefetch per consumer and can not change it later, so a worker has one consumer of prefetch 1 for each
frame that it has room for. A frame's delivery is acknowledged when the broker has its result; a slot that is free
before that needs a frame that is here already. Long frames are never taken ahead: another worker could render them.
"""

from __future__ import annotations

import math

LONG = 2.0
"""seconds; frames of at least this are not taken ahead: the wait for the next is nothing beside them"""
ROUND_TRIP = 0.1
"""seconds of work that are kept ahead; a confirmed result and the next delivery take 5 to 50 ms on a busy broker"""
MOST_AHEAD = 8
"""frames ahead for each slot at most"""


def ahead(slots: int, mean: float | None) -> int:
    """Frames to hold beyond those in the slots, where a frame takes `mean` seconds (None: not known yet)."""
    if mean is None or mean >= LONG:
        return 0
    return min(MOST_AHEAD * slots, math.ceil(slots * ROUND_TRIP / max(mean, 1e-4)))


def room(slots: int, *, ahead: int, uploading: int, bare: int) -> int:
    """How many consumers to have.

    A result that is uploaded keeps its delivery though its slot is free, so it gets room of its own, up to a second
    set of slots. `bare` slots render a frame that has no delivery any more (acknowledged early, or lost with a
    connection): they need no consumer.
    """
    return max(slots + ahead + min(uploading, slots) - bare, 0)


class Pace:
    """How long a frame occupies a slot: a mean in which the last frames weigh most, and the mean of each job.

    A worker's first frame counts only until the second has ended, where that was quicker: it had to load the scene.
    """

    WEIGHT = 0.25
    JOBS = 100

    def __init__(self) -> None:
        self.mean: float | None = None
        self._frames = 0
        self._jobs: dict[int, float] = {}

    def add(self, job: int, seconds: float) -> None:
        before = seconds if self._frames == 1 and self.mean is not None and seconds < self.mean else self.mean
        self.mean, self._frames = self._mixed(before, seconds), self._frames + 1
        self._jobs[job] = self._mixed(self._jobs.pop(job, None), seconds)
        if len(self._jobs) > self.JOBS:
            del self._jobs[next(iter(self._jobs))]

    def of(self, job: int) -> float | None:
        """The mean of the job's frames, None before its first."""
        return self._jobs.get(job)

    def _mixed(self, mean: float | None, seconds: float) -> float:
        return seconds if mean is None else mean + self.WEIGHT * (seconds - mean)
