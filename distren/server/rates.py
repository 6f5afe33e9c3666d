"""How fast jobs go."""

from __future__ import annotations

from collections import deque

_SPAN = 10.0
"""seconds over which a job's speed is measured at least"""
_TURNS = 16
"""results, or turns of them, over which it is measured at least: frames come in bunches, one from each slot"""


class Rates:
    """How many frames of each job became done lately. Times are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._done: dict[int, deque[tuple[float, int]]] = {}

    def begin(self, job: int, now: float) -> None:
        """A frame of `job` is being rendered: its speed counts from the first one on."""
        self._since.setdefault(job, now)

    def count(self, job: int, frames: int, now: float) -> None:
        self.begin(job, now)
        recent = self._done.setdefault(job, deque())
        recent.append((now, frames))
        while len(recent) > _TURNS and now - recent[0][0] > _SPAN:
            self._since[job] = recent.popleft()[0]

    def of(self, job: int, now: float) -> float:
        """Frames per second."""
        if not (recent := self._done.get(job)):
            return 0.0
        return sum(frames for _, frames in recent) / max(now - self._since[job], 1.0)

    def forget(self, job: int) -> None:
        """`job` has ended or stands still: what was measured says nothing of how it will go on."""
        self._since.pop(job, None)
        self._done.pop(job, None)
