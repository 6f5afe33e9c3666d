"""A process that is started again whenever it ends, as a service manager would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RESTART_AFTER = 1.0
"""seconds between the end of a process and its next start; as a unit file with RestartSec=1"""
_END_WITHIN = 20.0


@dataclass(frozen=True, kw_only=True)
class Exit:
    """The process ended although nobody had killed it."""

    name: str
    code: int
    at: float


class Supervised:
    """One service: `start` begins it, `kill` and `pause` disturb it, `close` ends it for good."""

    def __init__(self, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self.exits: list[Exit] = []
        """ends that nobody asked for"""
        self._command, self._environment = list(command), dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed: set[int] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        self._process = self._spawn()
        self._thread.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9; its children are left to themselves. It is started again."""
        process = self._process
        if process is not None:
            self._killed.add(process.pid)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def close(self) -> None:
        """End the process in good order, and start it no more."""
        self._closing.set()
        process = self._process
        if process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            process.wait(_END_WITHIN)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._thread.join(_END_WITHIN)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _watch(self) -> None:
        while (process := self._process) is not None:
            code = process.wait()
            if self._closing.is_set():
                return
            if process.pid not in self._killed:
                self.exits.append(Exit(name=self.name, code=code, at=time.time()))
            if self._closing.wait(RESTART_AFTER):
                return
            self._process = self._spawn()
