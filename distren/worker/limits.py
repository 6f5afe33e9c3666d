"""What an attempt may take, and what it takes: measured while it runs, by looking at its processes and its folders."""

from __future__ import annotations

import math
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from distren.config import Settings
from distren.wire.frames import Render
from distren.worker.sandbox import View

EVERY = 0.25
"""seconds between two looks; one takes a fifth of a millisecond, so that an attempt of 60 s costs 50 ms"""
FIRST = 0.1
"""seconds from the start to the first look: what is over before that costs nothing"""
_SMALLEST = 4_096
"""bytes that a file counts at least: what a disk needs for it"""
_MOST_MEMORY = 0.95
"""share of the machine's memory that one attempt may have; with more than all of it the kernel would end somebody"""
_MOST_PROCESSES = 500
Number = TypeVar("Number", int, float)
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one attempt may take; None: no limit.

    `time` and `silence` (without a word of the program) in seconds; `memory` (resident, of all its processes together)
    and `output` (in its folders) in bytes; `free` bytes must stay on the disk that its folders are on.
    """

    time: float
    silence: float | None = None
    memory: int | None = None
    output: int | None = None
    free: int = 0


def of(render: Render, own: Limits) -> Limits:
    """What an attempt may take: the stricter of what its job says and of what the worker's owner allows (`own`)."""
    return Limits(
        time=min(render.time_limit, own.time),
        silence=_stricter(render.silence_limit, own.silence),
        memory=_stricter(render.memory_limit, own.memory),
        output=_stricter(render.output_limit, own.output),
        free=own.free,
    )


def configured(settings: Settings, memory: int) -> Limits:
    """What this machine's owner allows; without a word about memory that is nearly all that there is (bytes)."""
    return Limits(
        time=math.inf,
        silence=settings.silence_limit,
        memory=settings.memory_limit or round(memory * _MOST_MEMORY),
        output=settings.output_limit,
        free=settings.free_space,
    )


def _stricter(one: Number | None, other: Number | None) -> Number | None:
    return other if one is None else one if other is None else min(one, other)


class Gauge:
    """Looks at a running attempt; `memory` is the largest sum of its processes seen so far, in bytes."""

    def __init__(self, limits: Limits, view: View, members: Callable[[], Collection[int]]) -> None:
        self._limits, self._view, self._members = limits, view, members
        self._foreign = {path for path in view.readable if path.is_relative_to(view.folder)}
        self.memory = 0

    def look(self) -> str | None:
        """One line on what the attempt takes too much of, None where all is well."""
        limits = self._limits
        members = self._members()
        taken = resident(members)
        self.memory = max(self.memory, taken)
        if limits.memory is not None and taken > limits.memory:
            return f"took {size(taken)} of memory, more than its limit of {size(limits.memory)}"
        if len(members) > _MOST_PROCESSES:
            return f"ran more than {_MOST_PROCESSES:,} processes at once"
        if limits.output is not None and (written := self.written(limits.output)) > limits.output:
            return f"wrote {size(written)}, more than its limit of {size(limits.output)}"
        if limits.free and (left := shutil.disk_usage(self._view.folder).free) < limits.free:
            return f"was ended: the worker's disk has only {size(left)} left"
        return None

    def written(self, enough: int) -> int:
        """The bytes that the attempt's files take on the disk; counts no further than a little beyond `enough`."""
        total, folders = 0, [self._view.folder, self._view.temporary]
        while folders and total <= enough:
            folder = folders.pop()
            if folder in self._foreign:
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        total += max(status.st_blocks * 512, _SMALLEST)
                        if stat.S_ISDIR(status.st_mode):
                            folders.append(Path(entry.path))
                        if total > enough:
                            break
            except OSError:
                continue  # it has gone meanwhile
        return total


def resident(pids: Iterable[int]) -> int:
    """The memory in bytes that these processes hold; what they share with others counts once."""
    own, shared = 0, 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/statm").read_text("ascii").split()
        except OSError:
            continue  # it has ended meanwhile
        held, common = int(words[1]), int(words[2])
        own += held - common
        shared = max(shared, common)
    return (own + shared) * _PAGE


def size(count: float) -> str:
    """`3.2 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.1f} TB"
