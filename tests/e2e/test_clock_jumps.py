"""The wall clock of server and worker is set by a day, either way, in mid-job: nothing changes.

libfaketime (Debian: libfaketime) shows these processes a wall clock that a file sets, and leaves their steady one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import brokers
import pytest
import scripted
from farm_processes import FarmProcesses
from waiting import wait_for

from distren import Job

PATIENCE = 90.0
DAY = 86_400
FRAMES = 60
HOLD = 'while [ "$1" -gt 20 ] && [ ! -e {go} ]; do sleep 0.05; done'
FAILS_ONCE = 'if [ "$1" = 1 ] && [ ! -e {failed} ]; then touch {failed}; exit 3; fi'


class Clock:
    """The wall clock that the processes are shown."""

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            brokers.missing("libfaketime is not installed: scripts/install test installs it")
        self._file = folder / "clock"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So much ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


def is_held(job: Job) -> bool:
    """Whether both slots hold a frame; the one that has failed may still wait for its retry."""
    counts = job.info().counts
    return counts.get("done", 0) >= 19 and counts.get("rendering") == 2


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def farm(vhost_url: str, clock: Clock, tmp_path: Path) -> Iterator[FarmProcesses]:
    """A server and a worker that see this clock."""
    processes = FarmProcesses(vhost_url, tmp_path / "farm")
    try:
        assert processes.distren("db", "upgrade").code == 0
        scripted.server(processes, **clock.environment)
        scripted.worker(processes, "w1", DISTREN_SANDBOX="off", **clock.environment)
        processes.await_ready()
        yield processes
    finally:
        processes.end()


def test_a_clock_that_is_set_by_a_day_either_way_changes_nothing(
    farm: FarmProcesses, clock: Clock, tmp_path: Path
) -> None:
    go, failed = tmp_path / "go", tmp_path / "failed"
    script = f"{FAILS_ONCE.format(failed=failed)}; {HOLD.format(go=go)}; {scripted.WRITE}"
    with farm.farm() as client:

        def seen() -> float:
            return client.workers()[0].seen

        job = scripted.submit(client, tmp_path / "job", f"1-{FRAMES}", script)
        wait_for(lambda: is_held(job), PATIENCE)
        for ahead, jump in ((DAY, DAY), (0, -DAY)):
            clock.set(ahead)
            wait_for(lambda jump=jump: f"the clock was set by {jump:+d} s" in farm.log("server"), PATIENCE)
            before = seen()
            wait_for(lambda before=before: seen() != before, PATIENCE)
            assert client.workers()[0].state == "working"
            assert job.info().counts.get("rendering") == 2, "what was in hand is in hand"
        go.touch()
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, FRAMES, tmp_path / "out")
        attempts = {frame.frame: len(job.attempts(frame.frame)) for frame in job.frames()}
    assert {number: count for number, count in attempts.items() if count != 1} == {1: 2}, "only frame 1 failed, once"
    assert farm.log("server").count("the clock was set by") == 2
    farm.check_alive()
