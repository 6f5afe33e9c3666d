"""A whole farm of real processes: a server and workers, and the command line to use them with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ready
from waiting import wait_for

from distren.client.farm import Farm
from distren.errors import DistrenError
from distren.failpoints import VARIABLE

READY_WITHIN = 60.0
END_WITHIN = 60.0
_AT_IMPORT = {"PYTHONPATH", VARIABLE}
"""environment that counts while modules are imported: a fork is too late for that"""


@dataclass
class Command:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class FarmProcesses:
    """A server and workers as child processes, all ended by `end`."""

    broker_url: str
    data: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, **changes: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTREN_")}
        return {**clean, "DISTREN_BROKER": self.broker_url, "DISTREN_DATA": str(self.data), **self.variables, **changes}

    def start(self, program: str, *flags: str, name: str = "", **changes: str) -> subprocess.Popen[bytes]:
        """Start `distren-<program>` (`main`: `distren`); its log is <data>/<name>.log."""
        name = name or program
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command_line(program, flags),
                env=self.environment(**changes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def log(self, name: str) -> str:
        return (self.data / f"{name}.log").read_text()

    def distren(
        self,
        *arguments: str,
        timeout: float = 120,
        cwd: Path | None = None,
        program: str = "main",
        from_the_start: bool = False,
        **changes: str,
    ) -> Command:
        """Run the command line until it ends: forked (ready.py), or `from_the_start` as a user starts it."""
        environment = self.environment(**changes)
        if program == "main" and not from_the_start and not _AT_IMPORT & {*self.variables, *changes}:
            return Command(*ready.forks().run(arguments, environment, cwd, timeout))
        done = subprocess.run(
            command_line(program, arguments),
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    def farm(self) -> Farm:
        return Farm(broker=self.broker_url, data=self.data)

    def await_ready(self, *, workers: int = 1) -> None:
        """Wait until the server answers, and so many workers are at work."""
        with self.farm() as farm:

            def is_ready() -> bool:
                self.check_alive()
                try:
                    farm.describe(timeout=1.0)
                    return sum(one.state == "working" for one in farm.workers()) >= workers
                except DistrenError:
                    return False

            wait_for(is_ready, READY_WITHIN)

    def check_alive(self) -> None:
        for name, process in self.running.items():
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}")

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """End one process, with all of its session if it does not heed the signal; its exit code."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def end(self) -> None:
        for name in reversed(list(self.running)):
            self.stop(name)


def command_line(program: str, arguments: Sequence[str]) -> list[str]:
    """The console commands, without depending on how the project is installed."""
    if program == "main":
        return [sys.executable, "-c", "from distren.cli.main import main; main()", *arguments]
    return [sys.executable, "-m", f"distren.cli.{program}", *arguments]
