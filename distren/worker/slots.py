"""The slots of a worker, and the threads that take a frame in hand, render it in a slot and hand its result on.

A slot is free as soon as the frame's program is through with it: the next frame begins while what the last one left is
checked, packed and sent. So there are twice as many threads as slots.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from distren import failpoints
from distren.worker import attempt
from distren.worker.attempt import Broken, Outcome, Rendered, Stopped
from distren.worker.cache import InputCache
from distren.worker.followers import Followers
from distren.worker.hand import Ending, Hand, Holding
from distren.worker.intake import Intake
from distren.worker.limits import Limits
from distren.worker.places import Places
from distren.worker.results import Results
from distren.worker.room import Pace, ahead
from distren.worker.sandbox import Sandbox
from distren.worker.scratch import Scratch
from distren.worker.skills import Skills

log = logging.getLogger(__name__)

PROGRESS_EVERY = 1.0
"""seconds between two reports of one frame's progress"""
BRIEF = 0.1
"""seconds; that a frame of a job with such short ones has begun is not told: its result says the same"""
_THREADS = 2
"""for each slot: one whose frame is rendered, one whose frame's results are checked"""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What every attempt needs."""

    skills: Skills
    cache: InputCache
    scratch: Scratch
    sandbox: Sandbox
    bounds: Limits
    places: Places
    followers: Followers


class Slots:
    """The threads that render; `on_change` is called when room may have to change, from any of them."""

    def __init__(
        self, hand: Hand, intake: Intake, results: Results, tools: Tools, *, on_change: Callable[[], None]
    ) -> None:
        self._hand, self._intake, self._results, self._tools = hand, intake, results, tools
        self._on_change = on_change
        self._threads: list[threading.Thread] = []
        self._pace_lock = threading.Lock()
        self.pace = Pace()
        self.count = 0

    def resize(self, count: int) -> None:
        """Render at most `count` frames at once; what is under way is not touched."""
        self.count = count
        self._hand.resize(count)
        while len(self._threads) < _THREADS * count:
            name = f"frame {len(self._threads) + 1}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the threads have ended (after Hand.close), `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def settled(self, holding: Holding) -> None:
        """The broker has the result, or nobody wants it: only now the delivery is acknowledged."""
        if holding.large:
            self._tools.scratch.remove(holding.token)
        failpoints.reach("worker.acknowledge.before")
        self._intake.acknowledge(self._hand.finish(holding))
        failpoints.reach("worker.acknowledge.after")

    def _serve(self) -> None:
        while (holding := self._hand.next()) is not None:
            try:
                self._render(holding)
            except Exception:
                log.exception("a slot met an error that nobody expected; its frame is given back")
                self._intake.give_back(self._hand.drop(holding))
                self._on_change()

    def _render(self, holding: Holding) -> None:
        failpoints.reach("worker.render.before")
        usual = self.pace.of(holding.render.job)
        redelivered = holding.delivery is not None and holding.delivery.redelivered
        if usual is None or usual > BRIEF or redelivered:
            self._results.started(holding)
        outcome = self._attempt(holding)
        failpoints.reach("worker.render.after")
        holding.large = isinstance(outcome, Rendered) and isinstance(outcome.tarball, Path)
        self._send(holding, outcome)
        if not holding.large:
            self._tools.scratch.remove(holding.token)
        self._leave_slot(holding)
        if holding.large:
            self._on_change()

    def _leave_slot(self, holding: Holding) -> None:
        """The frame's program is through, or never began: the slot is another frame's."""
        if self._hand.sending(holding) and self._measure(holding):
            self._on_change()

    def _measure(self, holding: Holding) -> bool:
        """Count the frame's time; True where the worker should hold another number of frames because of it."""
        with self._pace_lock:
            before = ahead(self.count, self.pace.mean)
            self.pace.add(holding.render.job, time.monotonic() - holding.began)
            return ahead(self.count, self.pace.mean) != before

    def _attempt(self, holding: Holding) -> Outcome:
        tools, told = self._tools, time.monotonic()

        def progress(percent: float) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= PROGRESS_EVERY:
                told = now
                self._results.progress(holding, percent)

        try:
            folder = tools.scratch.make(holding.token)
        except OSError as error:
            return Broken(reason=f"the worker's disk: {error}")
        with ExitStack() as occupied:
            place = occupied.enter_context(tools.places.taken(holding.render.job))
            on_line = occupied.enter_context(tools.followers.log(holding.key))

            def through() -> None:
                occupied.close()
                self._leave_slot(holding)

            return attempt.make(
                holding.render,
                skills=tools.skills,
                cache=tools.cache,
                sandbox=tools.sandbox,
                bounds=tools.bounds,
                place=place,
                folder=folder,
                stop=holding.stop,
                on_progress=progress,
                on_line=on_line,
                on_through=through,
            )

    def _send(self, holding: Holding, outcome: Outcome) -> None:
        if isinstance(outcome, Stopped):
            if holding.ending is Ending.GIVEN_BACK:
                self._intake.give_back(self._hand.drop(holding))
            else:
                self._intake.acknowledge(self._hand.finish(holding))
            self._on_change()
        elif isinstance(outcome, Broken):
            self._results.failed(holding, outcome)
        else:
            self._results.completed(holding, outcome)
