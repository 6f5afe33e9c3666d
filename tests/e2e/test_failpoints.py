"""Each failpoint is visited: the process dies there, is started again, and the job ends as if nothing had been.

Where several programs reach a point, one of them is chosen; `DISTREN_FAILPOINTS=all` has all of them die there.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import scripted
from farm_processes import FarmProcesses, command_line
from waiting import wait_for

from distren.failpoints import CLIENT, POINTS, SERVER, VARIABLE, WORKER

PATIENCE = 90.0
FRAMES = 3
LARGE = 2**21 + 5
"""bytes; what is larger than 1 MiB travels as a blob of its own"""
_FILL = f'{scripted.WRITE}; cat "$INPUTS/extra.bin" >> "$1.txt"'


def visits() -> list[tuple[str, str]]:
    """Program and point; those of jobs that are handed over are visited in test_moves_under_kills.py."""
    found = []
    for number, (name, (programs, _)) in enumerate(POINTS.items()):
        if name.startswith("server.move."):
            continue
        chosen = programs if os.environ.get("DISTREN_FAILPOINTS") == "all" else [programs[number % len(programs)]]
        found += [(program, name) for program in chosen]
    return found


class ArmedFarm:
    """A farm whose server and worker look into files for the point at which they are to die."""

    def __init__(self, processes: FarmProcesses) -> None:
        self.processes = processes
        self.start(SERVER)
        self.start(WORKER)

    def start(self, program: str) -> None:
        armed = {VARIABLE: f"@{self._order(program)}"}
        if program == SERVER:
            scripted.server(self.processes, **armed)
        else:
            scripted.worker(self.processes, WORKER, **armed)

    def arm(self, program: str, point: str) -> None:
        self._order(program).write_text(point)

    def await_death(self, program: str) -> None:
        """Wait until the program has died at its point, and start it again without one."""
        process = self.processes.running[program]
        wait_for(lambda: process.poll() is not None, PATIENCE)
        assert process.returncode == -signal.SIGKILL, self.processes.log(program)[-2000:]
        self.arm(program, "")
        self.start(program)

    def _order(self, program: str) -> Path:
        return self.processes.data / f"{program}.failpoint"


@pytest.fixture(scope="module")
def armed(farm_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmedFarm]:
    processes = FarmProcesses(farm_broker, tmp_path_factory.mktemp("armed"))
    try:
        made = processes.distren("db", "upgrade")
        assert made.code == 0, made.err
        farm = ArmedFarm(processes)
        processes.await_ready()
        yield farm
    finally:
        processes.end()


@pytest.mark.parametrize(("program", "point"), [visit for visit in visits() if visit[0] != CLIENT])
def test_a_server_or_worker_that_dies_anywhere_loses_nothing(
    armed: ArmedFarm, tmp_path: Path, program: str, point: str
) -> None:
    large = point.startswith("blob")
    script, extra = (_FILL, os.urandom(LARGE)) if large else (scripted.WRITE, b"")
    armed.arm(program, point)
    with armed.processes.farm() as farm, ThreadPoolExecutor(1) as pool:
        folder = scripted.seed(tmp_path / "job", f"1-{FRAMES}", script, extra=extra)
        submitting = pool.submit(farm.submit, folder)
        armed.await_death(program)
        job = submitting.result(PATIENCE)
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, FRAMES, tmp_path / "out", extra)


@pytest.mark.parametrize("point", [point for program, point in visits() if program == CLIENT])
def test_a_client_that_dies_anywhere_can_be_started_again(armed: ArmedFarm, tmp_path: Path, point: str) -> None:
    extra = os.urandom(LARGE)
    folder = scripted.seed(tmp_path / "job", f"1-{FRAMES}", _FILL, extra=extra)
    fetches = "write" in point or "store" in point
    submit, submitted = ["submit", str(folder), "--json"], ""
    if not fetches:
        assert died(armed, point, submit)
    submitted = str(armed.processes.distren(*submit).json["job"])
    assert armed.processes.distren("watch", submitted).code == 0
    if fetches:
        assert died(armed, point, ["fetch", submitted, "--output", str(tmp_path / "out")])
    with armed.processes.farm() as farm:
        scripted.assert_whole(farm.job(submitted), FRAMES, tmp_path / "out", extra)


def died(armed: ArmedFarm, point: str, arguments: list[str]) -> bool:
    """Whether the command dies at the point."""
    environment = armed.processes.environment(**{VARIABLE: point})
    command = command_line("main", arguments)
    done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    return done.returncode == -signal.SIGKILL
