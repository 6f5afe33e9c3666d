"""When a worker that fails is to get no more frames: it fails what others render.

Only facts that speak against the worker count. A frame that would fail everywhere alike (a parse error) says nothing
of who tried it, and neither does a job of which nobody has rendered anything.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

IN_A_ROW = 3
"""different frames that a worker fails one after the other, without rendering any in between"""
_JOBS = 1_000
"""jobs whose successes are remembered, the latest ones"""
Key = tuple[int, int]
"""job and frame"""


@dataclass
class Watch:
    """What has become of the workers' frames of late."""

    _failed: dict[str, dict[Key, str]] = field(default_factory=dict)
    _rendered: OrderedDict[int, set[str]] = field(default_factory=OrderedDict)

    def rendered(self, worker: str, frame: Key) -> None:
        """A worker has rendered a frame: whatever it failed before is forgiven."""
        self._failed.pop(worker, None)
        self._rendered.setdefault(frame[0], set()).add(worker)
        self._rendered.move_to_end(frame[0])
        while len(self._rendered) > _JOBS:
            self._rendered.popitem(last=False)

    def failed(self, worker: str, frame: Key, reason: str, *, permanent: bool) -> None:
        """A worker has failed a frame; `permanent`: another would fail it alike."""
        if not permanent:
            self._failed.setdefault(worker, {})[frame] = reason

    def forgive(self, worker: str) -> None:
        """Forget what a worker has failed: it has been released, or is a new process."""
        self._failed.pop(worker, None)

    def verdict(self, worker: str) -> str | None:
        """Why the worker is to be quarantined now, in one line; None where there is no reason."""
        against = {
            frame: reason
            for frame, reason in self._failed.get(worker, {}).items()
            if self._rendered.get(frame[0], set()) - {worker}
        }
        if len(against) < IN_A_ROW:
            return None
        last = list(against.values())[-1]
        return f"it failed {len(against)} different frames in a row of jobs that others render; the last: {last}"

    def suspects(self) -> list[str]:
        """The workers that have failed something since they last rendered."""
        return list(self._failed)
