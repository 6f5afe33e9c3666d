"""How many renders a worker runs at once: `--slots N`, or `--slots auto`, which measures.

Auto starts from one render for each core. Many programs leave a core idle for a part of their time (POV-Ray sleeps for
0.65 s at its start), so while all slots are busy and a part of the processor is idle all the same, there may be more
renders, up to MOST for each core, as long as memory for them is there; of programs that sleep most of their time up to
MOST_IDLE, at once when the first of them have ended. When nothing is idle there are fewer again.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Literal, Protocol

from distren.worker.machine import Machine, Sample
from distren.worker.process import CENSUS

LOOK = 0.25
"""seconds between two questions for the limit that let it follow the machine; seldomer costs some percent of speed"""
MOST = 2.0
"""renders for each core"""
MOST_IDLE = 12.0
"""the same for programs that hardly use it: of such as many as it takes to fill it"""
RAISE = 0.06
"""share of the processor that must be idle before there are more renders"""
LOWER = 0.01
"""share of the processor below which too little is idle for more renders than cores"""
SETTLE = 0.7
"""seconds after a change before the next: a new render shows what it needs only after its start"""
CLEAR = 0.5
"""share of the processor that must be idle before renders that are known to hardly use it are added without waiting"""
BOLD = 1 / 3
"""share of what is idle that they are given at a time; with all of it, too many of them wake at once"""
EVERY = 0.1
"""seconds between two samples at least; the kernel counts in hundredths"""
LOOK_BACK = 2.0
"""seconds that the mean of idle time looks back"""
YOUNG = 3.0
"""seconds; a render that began later than that is taken to have its memory still to get"""
UNKNOWN = 256 * 2**20
"""bytes that a render is taken to need before one has ended"""
SCARCE = 0.10
"""share of the memory; where less is to be had, programs that wait for frames are ended"""
RESERVE = 0.05
"""share of the memory that is left alone"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a decision is made from: cores idle on the average, bytes to be had, and renders under way.

    `young` of them have not taken their memory yet; `peak` is what a render takes at most, and `share` how many cores
    one uses on the average, None where none has ended (since renders last began, for the latter).
    """

    free: float
    memory: int
    running: int
    young: int
    peak: int | None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What does not change: processors, bytes of memory."""

    cores: int
    memory: int

    def most(self, share: float | None) -> int:
        """Renders of which each uses `share` of a core."""
        filling = MOST if share is None else min(1 / max(share, 0.01), MOST_IDLE)
        return max(self.cores, math.floor(max(filling, MOST) * self.cores))


def fitting(load: Load, bounds: Bounds) -> int:
    """How many renders have memory, those under way included; one may always run."""
    need = load.peak or UNKNOWN
    left = load.memory - RESERVE * bounds.memory - load.young * need
    return max(1, load.running + math.floor(left / need))


def decided(target: int, load: Load, bounds: Bounds, *, settled: bool) -> int:
    """How many renders there may be now, where there could be `target` so far.

    `settled`: the last change is long enough ago to be seen in `load`. Memory acts at once all the same.
    """
    if not load.running:
        target = bounds.cores
    elif load.running >= target and _is_light(load.share) and load.free >= CLEAR * bounds.cores:
        target += max(1, math.floor(BOLD * load.free / _usual(load.share)))
    elif settled and load.running >= target and load.free >= RAISE * bounds.cores:
        target += min(max(1, math.floor(load.free / _usual(load.share))), target)
    elif settled and target > bounds.cores and load.free < LOWER * bounds.cores:
        target -= 1
    return max(1, min(target, bounds.most(load.share), fitting(load, bounds)))


def _is_light(share: float | None) -> bool:
    """Whether renders that use `share` of a core sleep most of their time."""
    return share is not None and share < 1 / MOST


def _usual(share: float | None) -> float:
    """Cores that one more render is expected to use: one, unless the last ones have slept most of their time."""
    return 1.0 if share is None or share >= 1 / MOST else max(share, 1 / MOST_IDLE)


class Renders(Protocol):
    """Who knows the renders under way."""

    running: int

    def young(self, seconds: float) -> int: ...

    @property
    def peak(self) -> int | None: ...

    @property
    def share(self) -> float | None: ...

    def forget_share(self) -> None: ...


class Gauge(Protocol):
    """Who measures the machine."""

    cores: int
    memory: int

    def now(self) -> float: ...

    def sample(self) -> Sample: ...

    def free(self, before: Sample, after: Sample) -> float: ...


class Admission:
    """Says how many renders may run; any thread may ask, the more often the sooner it sees what is free."""

    def __init__(self, slots: int | Literal["auto"], *, gauge: Gauge | None = None, renders: Renders = CENSUS) -> None:
        self._fixed = None if slots == "auto" else slots
        self._gauge = gauge or Machine()
        self._renders = renders
        self._bounds = Bounds(cores=self._gauge.cores, memory=self._gauge.memory)
        self._lock = threading.Lock()
        self._target = self._bounds.cores
        self._last = self._gauge.sample()
        self._changed = self._last.time - SETTLE
        self._free: float | None = None

    @property
    def limit(self) -> int:
        """How many renders there may be now."""
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            self._measure()
            return self._target

    def is_scarce(self) -> bool:
        """Whether so little memory is left that whatever waits should give up its own."""
        return self._gauge.sample().memory < SCARCE * self._bounds.memory

    def may_start(self, running: int) -> bool:
        """Whether another render may start beside `running` ones."""
        return running < self.limit

    def _measure(self) -> None:
        if self._gauge.now() - self._last.time < EVERY:
            return
        sample = self._gauge.sample()
        passed = sample.time - self._last.time
        free = self._gauge.free(self._last, sample)
        weight = 1 - math.exp(-passed / LOOK_BACK)
        self._free = free if self._free is None else self._free + weight * (free - self._free)
        self._last = sample
        if not self._renders.running:
            self._renders.forget_share()  # the next job's may be others
        load = Load(
            free=self._free,
            memory=sample.memory,
            running=self._renders.running,
            young=self._renders.young(YOUNG),
            peak=self._renders.peak,
            share=self._renders.share,
        )
        settled = sample.time - self._changed >= SETTLE
        target = decided(self._target, load, self._bounds, settled=settled)
        if target != self._target:
            self._target, self._changed = target, sample.time
