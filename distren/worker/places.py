"""The places of a worker's renders, each with the program that has stayed there.

A render takes the lowest place that is free, or one whose program has its job's scene loaded. A program that stays is
ended when its place is wanted for something else, when its job is over, when nobody has asked it for a while, and when
memory runs short.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from distren.renderers.protocol import Command
from distren.worker.session import Session

log = logging.getLogger(__name__)

IDLE = 60.0
"""seconds after which a program that nobody asks for a frame is ended"""

Start = Callable[[ExitStack], Session]
"""starts a program; what is entered into the stack is held until it has ended"""


@dataclass(eq=False)
class Place:
    """One of the places; only the render that has it uses it. `number` counts from 0."""

    number: int
    job: int | None = None
    is_taken: bool = False
    idle_since: float = 0.0
    session: Session | None = None
    _held: ExitStack = field(default_factory=ExitStack)

    def staying(self, job: int, command: Command, start: Start) -> Session:
        """The program that renders `command` of `job`: the one that is here, if it can, or a new one."""
        if self.session is None or self.job != job or not self.session.fits(command):
            self.clear()
            with ExitStack() as stack:
                session = start(stack)
                stack.callback(session.end)
                self._held = stack.pop_all()
            self.session, self.job = session, job
        return self.session

    def clear(self) -> None:
        """End the program that has stayed here, if there is one."""
        held, self._held = self._held, ExitStack()
        self.session = self.job = None
        with contextlib.suppress(OSError):
            held.close()


class Places:
    """All places of a worker; any thread may call anything."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._places: list[Place] = []
        self._over: set[int] = set()
        self._is_closed = False

    @contextmanager
    def taken(self, job: int) -> Iterator[Place]:
        """A place for a render of `job`, from here to the end of the `with`."""
        place = self._take(job)
        try:
            yield place
        finally:
            if self._is_closed or job in self._over or (place.session is not None and place.session.is_over):
                place.clear()
            with self._lock:
                place.idle_since, place.is_taken = self._clock(), False
            if self._is_closed:
                self._clear(lambda one: True)

    def forget(self, job: int) -> None:
        """The job is over: have the programs ended that have its scene loaded, at the next tick; takes no time."""
        with self._lock:
            self._over.update(place.job for place in self._places if place.job == job)

    def tick(self, *, scarce: Callable[[], bool]) -> None:
        """End programs whose job is over or that have waited for long, and all that wait where memory is `scarce`."""
        with self._lock:
            waiting = [place for place in self._places if place.session is not None and not place.is_taken]
            self._over.intersection_update([place.job for place in self._places if place.job is not None])
        if waiting:
            now, short = self._clock(), scarce()
            self._clear(lambda place: short or place.job in self._over or now - place.idle_since >= IDLE)

    def close(self) -> None:
        """End every program that waits; those that render are ended when their frame is."""
        self._is_closed = True
        self._clear(lambda place: True)

    def _take(self, job: int) -> Place:
        with self._lock:
            self._over.discard(job)
            free = [place for place in self._places if not place.is_taken]
            if not free:
                free = [Place(len(self._places))]
                self._places += free
            best = min(free, key=lambda place: (place.job != job, place.session is not None, place.number))
            best.is_taken = True
            return best

    def _clear(self, wanted: Callable[[Place], bool]) -> None:
        """End the waiting programs in the places that are `wanted`."""
        with self._lock:
            chosen = [one for one in self._places if one.session is not None and not one.is_taken and wanted(one)]
            for place in chosen:
                place.is_taken = True
        for place in chosen:
            log.info("the program that waited in place %d is ended", place.number)
            place.clear()
        with self._lock:
            for place in chosen:
                place.is_taken = False
