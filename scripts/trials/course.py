"""What happens in a trial: jobs are handed in while faults strike, until all have ended or nothing moves any more."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from distren.client.farm import Farm
from distren.domain.states import JOB_ENDED
from distren.errors import DistrenError
from trials.disturber import Disturber
from trials.schedule import Fault
from trials.submitter import Promise

SECONDS = (0.1, 0.5)
"""shortest and longest frame"""
LOOK_EVERY = 1.0
"""seconds"""
Say = Callable[[str], None]
P = TypeVar("P", bound=Promise, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Course:
    """`stall`: seconds without any progress after which the trial is given up."""

    seed: int
    frames: int
    plan: list[Fault]
    seconds: tuple[float, float] = SECONDS
    stall: float = 150.0
    sizes: list[int] | None = None


class Submitting(Protocol[P]):
    """The thread that hands jobs in."""

    failure: DistrenError | None

    @property
    def promises(self) -> Sequence[P]: ...
    def start(self) -> None: ...
    def end(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


class Watch(ABC, Generic[P]):
    """Follows the jobs; `look` asks for those that have not ended."""

    def __init__(self, submitting: Submitting[P], begun: Callable[[], int]) -> None:
        self._submitting, self._begun = submitting, begun
        self._ended: set[str] = set()
        self._done: dict[str, int] = {}
        self._last: object = None
        self.standing = "nothing is known yet"

    @abstractmethod
    def look(self, promises: Sequence[P]) -> None:
        """Call `note` for each of the promises. Raises DistrenError where nobody answers."""

    def note(self, client: Farm, promise: Promise) -> None:
        info = client.job(promise.job).info()
        self._done[promise.token] = info.counts.get("done", 0)
        if info.state in JOB_ENDED:
            self._ended.add(promise.token)

    def all_ended(self) -> bool:
        """Whether every job that was promised has ended, one way or the other."""
        promises = list(self._submitting.promises)
        try:
            self.look([one for one in promises if one.token not in self._ended])
        except DistrenError:
            return False
        self.standing = (
            f"{sum(self._done.values())} done of {sum(one.frames for one in promises)}, {self._begun()} begun"
        )
        return all(one.token in self._ended for one in promises)

    def has_moved(self) -> bool:
        now = (sum(self._done.values()), self._begun(), len(self._submitting.promises))
        moved, self._last = now != self._last, now
        return moved


def lead(submitting: Submitting[P], disturbing: Disturber, watch: Watch[P], course: Course, say: Say) -> list[str]:
    """Hand in and disturb until all has ended; what went wrong with that."""
    submitting.start()
    disturbing.start()
    trouble = _see_it_through(submitting, disturbing, watch, course, say)
    submitting.end()
    disturbing.end()
    submitting.join(60)
    disturbing.join(120)
    trouble += [f"a job was refused: {submitting.failure}"] if submitting.failure else []
    trouble += [f"the trial's own fault: {disturbing.failure!r}"] if disturbing.failure else []
    if len(disturbing.struck) < len(course.plan):
        trouble.append(f"only {len(disturbing.struck)} of {len(course.plan)} faults have struck")
    return trouble


def _see_it_through(
    submitting: Submitting[P], disturbing: Disturber, watch: Watch[P], course: Course, say: Say
) -> list[str]:
    """Wait until all has been handed in and has struck, and every job has ended; why not, if nothing moves any more."""
    moved, told = time.monotonic(), 0.0
    while not (watch.all_ended() and not submitting.is_alive() and not disturbing.is_alive()):
        if watch.has_moved():
            moved = time.monotonic()
        if time.monotonic() - moved > course.stall:
            return [f"nothing has moved for {course.stall:.0f} s: {watch.standing}"]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(watch.standing)
        time.sleep(LOOK_EVERY)
    return []
