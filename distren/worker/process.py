"""Runs a renderer's program, and watches it until it and all that it started have ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from distren.renderers.protocol import Command, Progress, Trouble
from distren.worker import child
from distren.worker.child import Child
from distren.worker.limits import EVERY, FIRST, Gauge, Limits, size
from distren.worker.sandbox import Sandbox, View
from distren.worker.transcript import Lines, Transcript

GRACE = 2.0
"""seconds between SIGTERM and SIGKILL"""
_LOOK = 0.1
"""seconds between looks at a stop that can not wake us (a plain threading.Event)"""
_READ = 2**16

ReadLine = Callable[[str], Progress | Trouble | None]
OnProgress = Callable[[float], None]


class Stop(threading.Event):
    """An event that a poll can wait for, so that `set` ends a render at once."""

    def __init__(self) -> None:
        super().__init__()
        self._number = -1
        self._making = threading.Lock()

    def fileno(self) -> int:
        """A descriptor that is readable once the event is set; made when it is first asked for."""
        with self._making:
            if self._number < 0:
                self._number = os.eventfd(int(self.is_set()), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._number

    def set(self) -> None:
        super().set()
        with self._making:
            if self._number >= 0:
                os.eventfd_write(self._number, 1)

    def clear(self) -> None:
        raise NotImplementedError("a stop is for good")

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            os.close(self._number)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    `status` is the exit code, None where a signal ended the program; `trouble` says why the run is no success, None
    where it is one; `over`: it was ended as it took more than a limit. `log` is the capped output; `memory` is the
    largest sum of its processes that was seen, or what child.Ended says where that is more, as `processor` is.
    """

    status: int | None
    trouble: Trouble | None
    seconds: float
    log: bytes
    stopped: bool = False
    over: bool = False
    memory: int = 0
    processor: float = 0.0


class Census:
    """Counts the renders of this process, and remembers what the last ones took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[Outcome] = deque(maxlen=32)
        self._used: deque[Outcome] = deque(maxlen=32)
        self._starts: deque[float] = deque(maxlen=1024)
        self.running = 0

    def young(self, seconds: float) -> int:
        """How many renders run that have begun in the last `seconds`."""
        since = time.monotonic() - seconds
        with self._lock:
            return min(sum(1 for start in self._starts if start >= since), self.running)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.running += 1
            self._starts.append(time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1

    def note(self, outcome: Outcome) -> Outcome:
        """Remember how a render has ended."""
        with self._lock:
            short = replace(outcome, log=b"")
            self._last.append(short)
            self._used.append(short)
        return outcome

    @property
    def peak(self) -> int | None:
        """Bytes; the largest of the last renders, None before the first."""
        with self._lock:
            return max((one.memory for one in self._last), default=None)

    @property
    def share(self) -> float | None:
        """Cores that one of the last renders used on the average, None before the first since `forget_share`."""
        with self._lock:
            seconds = sum(one.seconds for one in self._used)
            return sum(one.processor for one in self._used) / seconds if seconds else None

    def forget_share(self) -> None:
        """Renders that ended before now say nothing about those to come."""
        with self._lock:
            self._used.clear()


CENSUS = Census()


def run(
    command: Command,
    *,
    sandbox: Sandbox,
    view: View,
    read_line: ReadLine,
    on_progress: OnProgress,
    limits: Limits,
    stop: threading.Event,
) -> Outcome:
    """Run `command` in `sandbox` with what `view` gives it, and wait for its end; nothing of it outlives that.

    `stop` ends the run at once if it is a Stop, a plain Event within a tenth of a second.
    Standard output and error arrive in `read_line` line by line (also at carriage returns). What the program does
    wrong is in the outcome; RenderError is raised where it can not be started. Whatever `read_line` and `on_progress`
    raise ends the program, and is raised.
    """
    began = time.monotonic()
    with CENSUS.counted():
        running = child.start(command.argv, sandbox, view, environment=command.environment, largest=limits.output)
        watch = Watch(running, command, read_line, on_progress, limits, Gauge(limits, view, running.members))
        try:
            watch.follow(stop)
        finally:
            ended = running.end()
        watch.read_rest()
        running.close()
    return CENSUS.note(
        Outcome(
            status=ended.status if ended.status >= 0 else None,
            trouble=watch.verdict(ended.status),
            seconds=time.monotonic() - began,
            log=watch.transcript.text(),
            stopped=watch.stopped,
            over=watch.over is not None,
            memory=max(watch.gauge.memory, ended.memory),
            processor=ended.processor,
        )
    )


class Watch:
    """Follows a child: reads what it says, and ends it when it must end."""

    def __init__(
        self,
        running: Child,
        command: Command,
        read_line: ReadLine,
        on_progress: OnProgress,
        limits: Limits,
        gauge: Gauge,
    ) -> None:
        self._child, self._command, self._pipe = running, command, running.output
        self._read_line, self._on_progress = read_line, on_progress
        self._lines = Lines(wraps_at=command.wraps_at)
        self._percent = -1.0
        self._trouble: Trouble | None = None
        self._kill_at: float | None = None
        self._open = True
        self.transcript = Transcript()
        self.stopped = False
        self.over: str | None = None
        """what the program has taken too much of, in one line"""
        self.gauge, self._limits = gauge, limits
        now = time.monotonic()
        self._deadline, self._heard, self._look_at = now + limits.time, now, now + FIRST
        os.set_blocking(self._pipe, False)

    def follow(self, stop: threading.Event, *, until: int | None = None) -> bool:
        """Wait until the child has ended, of itself or because of a limit or `stop`, or until its keeper has.

        True where neither has, and the descriptor `until` can be read from instead.
        """
        poll = select.poll()
        ends = {self._child.life, self._child.keeper}
        for one in (*ends, self._pipe, *(() if until is None else (until,))):
            poll.register(one, select.POLLIN)
        wakes = isinstance(stop, Stop)
        if isinstance(stop, Stop):
            poll.register(stop, select.POLLIN)
        while True:
            if stop.is_set() and self._kill_at is None:
                self.stopped = True
                self._ask_to_end()
                if wakes:
                    poll.unregister(stop.fileno())  # type: ignore[attr-defined]  # it stays readable
                    wakes = False
            ready = {number for number, _ in poll.poll(self._wait(wakes or self.stopped))}
            if self._pipe in ready and not self._read():
                poll.unregister(self._pipe)
            if ends & ready:
                return False
            if until in ready and self._kill_at is None:
                return True
            if until is not None and self._kill_at is not None:
                poll.unregister(until)  # nothing that it says counts any more
                until = None
            self._check()

    def _wait(self, wakes: bool) -> float:
        """Milliseconds until something must be done though nothing happens."""
        due = min(self._look_at, self._deadline) if self._kill_at is None else self._kill_at
        wait = due - time.monotonic()
        return max((wait if wakes else min(wait, _LOOK)) * 1000, 0.0) + 1

    def _check(self) -> None:
        now, limits = time.monotonic(), self._limits
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._child.kill()
                self._kill_at = now + GRACE
        elif now >= self._deadline:
            self.over = f"rendered longer than its limit of {duration(limits.time)}"
            self._ask_to_end()
        elif now >= self._look_at:
            self._look_at = now + EVERY
            self.over = self.gauge.look()
            if self.over is not None:
                self._child.kill()
                self._kill_at = now + GRACE
            elif limits.silence is not None and now - self._heard >= limits.silence:
                self.over = f"said nothing for {duration(limits.silence)}, which is its limit"
                self._ask_to_end()

    def _ask_to_end(self) -> None:
        self._child.ask_to_end()
        self._kill_at = time.monotonic() + GRACE

    # -- what it says ------------------------------------------------------------------------------------------------

    def _read(self) -> bool:
        """Take in what is there; False at the end of the output."""
        try:
            data = os.read(self._pipe, _READ)
        except BlockingIOError:
            return True
        self._heard = time.monotonic()
        for line in self._lines.feed(data):
            self._take(line)
        self._open = bool(data)
        return self._open

    def _take(self, line: str) -> None:
        meaning = self._read_line(line)
        if isinstance(meaning, Progress):
            if meaning.percent != self._percent:
                self._percent = meaning.percent
                self._on_progress(meaning.percent)
            return
        self.transcript.add(line)
        if meaning is not None and (self._trouble is None or (meaning.permanent and not self._trouble.permanent)):
            self._trouble = meaning

    # -- its end -----------------------------------------------------------------------------------------------------

    def read_rest(self) -> None:
        """Take in what is left in the pipe, without waiting for a process that left the group and holds it open."""
        with contextlib.suppress(BlockingIOError):
            while self._open and (data := os.read(self._pipe, _READ)):
                for line in self._lines.feed(data):
                    self._take(line)
        for line in self._lines.end():
            self._take(line)

    def verdict(self, status: int) -> Trouble | None:
        """Why the run is no success."""
        name = Path(self._command.argv[0]).name
        if self.stopped:
            return Trouble("it was stopped")
        if self.over is not None:
            return Trouble(self.over)
        if status in self._command.good_statuses:
            return None
        if status == -signal.SIGXFSZ and self._limits.output is not None:
            return Trouble(f"{name} wrote a file that is larger than its limit of {size(self._limits.output)}")
        if status < 0:
            return Trouble(_signalled(name, -status))
        if self._trouble is not None:
            return self._trouble
        last = self.transcript.last_line
        if last.startswith("bwrap: "):
            return Trouble(f"the sandbox can not be made: {last.removeprefix('bwrap: ')}")
        return Trouble(f"{name} ended with status {status}" + (f": {last}" if last else ""))


def duration(seconds: float) -> str:
    """`90 s`, `15 min`, `2.5 h`."""
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def _signalled(name: str, number: int) -> str:
    try:
        called = signal.Signals(number).name
    except ValueError:
        called = f"signal {number}"
    if number == signal.SIGKILL:
        return f"{name} was killed ({called}): most likely the machine ran out of memory"
    return f"{name} was ended by {called}"
