"""The container engine of this machine, through its command line: docker, or podman."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from distren.errors import BrokerUnavailable

_LIMIT = 600.0  # seconds; a first start fetches the image


class Engine:
    """The engine whose command is `program`; every call raises BrokerUnavailable with the engine's own last line."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, *arguments: str) -> str:
        """Run one command of the engine; what it wrote to standard output."""
        try:
            done = subprocess.run(
                [str(self.program), *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BrokerUnavailable(f"{self.program} {arguments[0]} failed: {error}") from error
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BrokerUnavailable(f"{self.program.name} {arguments[0]} failed: {said}")
        return done.stdout.strip()

    def answers(self, *arguments: str) -> str | None:
        """The output of a command that may fail; None when it did."""
        try:
            return self.run(*arguments)
        except BrokerUnavailable:
            return None


def find() -> Engine | None:
    """An engine that answers; None when there is none."""
    for name in ("docker", "podman"):
        found = shutil.which(name)
        if found and Engine(Path(found)).answers("ps", "-q") is not None:
            return Engine(Path(found))
    return None
