"""Keeps a few child processes running: starts them again when they die, ends them politely, leaves none behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distren.errors import DistrenError, OutputError

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""seconds before a child that died is started again; doubled each time"""
SETTLED = 60.0
"""seconds after which a child counts as well, and its next death as its first"""
_LARGEST_LOG = 10 * 2**20
"""bytes; a larger log is put aside when the child is next started"""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run: `argv` with `environment` (all of it), its output into the file `log`."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path


class Child:
    """One program that is kept running until `end`; to be used from the main thread alone (see `leash`)."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._wait = FIRST_WAIT
        self._again: float | None = None
        self._ending = False

    @property
    def pid(self) -> int | None:
        """The process now; None where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the program in a session of its own. Raises OutputError where its log can not be written."""
        try:
            self.program.log.parent.mkdir(parents=True, exist_ok=True)
            if self.program.log.exists() and self.program.log.stat().st_size > _LARGEST_LOG:
                self.program.log.replace(self.program.log.with_suffix(".log.1"))
            with self.program.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "distren.cli.leash", str(os.getpid()), *self.program.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=dict(self.program.environment),
                    start_new_session=True,
                )
        except OSError as error:
            raise OutputError(f"{self.program.name} can not be started: {error.strerror}: {error.filename}") from error
        self._started, self._again = time.monotonic(), None

    def check(self, now: float) -> str | None:
        """Start the program again if it has died and its wait is over; what there is to say about it, if anything."""
        if self._ending or self._process is None or self._process.poll() is None:
            return None
        if self._again is None:
            if now - self._started > SETTLED:
                self._wait = FIRST_WAIT
            self._again, self._wait = now + self._wait, min(self._wait * 2, LONGEST_WAIT)
            return (
                f"the {self.program.name} ended ({self._how(self._process.returncode)}), "
                f"starting it again in {self._again - now:.0f} s"
            )
        if now < self._again:
            return None
        self.start()
        return f"the {self.program.name} runs again"

    def raise_if_ended(self) -> None:
        """Raise what the program ended with, as its own last line says it; for the time of its first start."""
        if self._process is not None and (code := self._process.poll()) is not None:
            line = self.last_line().removeprefix(f"distren-{self.program.name}: ")
            raise _kind(code)(f"the {self.program.name} does not start: {line} (log: {self.program.log})")

    def send(self, number: signal.Signals) -> None:
        """Send a signal; the program is not started again from now on."""
        self._ending = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the process and whatever is left in its session, without asking."""
        self._ending = True
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_line(self) -> str:
        """The last thing that the program said."""
        try:
            with self.program.log.open("rb") as file:
                file.seek(max(self.program.log.stat().st_size - 4096, 0))
                lines = file.read().decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def _how(self, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}: {self.last_line()}"


def _kind(code: int, kind: type[DistrenError] = DistrenError) -> type[DistrenError]:
    """The error class whose exit code is `code`."""
    for child in kind.__subclasses__():
        if child.exit_code == code:
            return child
        if (found := _kind(code, child)) is not DistrenError:
            return found
    return DistrenError
