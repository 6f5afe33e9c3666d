"""Workers that are stopped, killed or cut off in a frame of a Blender that stays: the frame goes on, Blender goes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from blenders import SCRIPT, by_hand
from farm_processes import FarmProcesses
from waiting import wait_for

from distren.broker.management import Management
from distren.client.job import Job

PATIENCE = 60.0


@pytest.fixture
def farm(vhost_url: str, tmp_path: Path) -> Iterator[FarmProcesses]:
    made = FarmProcesses(vhost_url, tmp_path / "farm")
    try:
        done = made.distren("db", "upgrade")
        assert done.code == 0, done.err
        made.start("server", "--server", "alpha", DISTREN_KILLS="9")  # the same frame meets three deaths here
        yield made
    finally:
        made.end()
        assert blenders(made) == []


def worker(farm: FarmProcesses, name: str) -> None:
    farm.start("worker", "--slots", "1", "--name", name, "--renderers", "blender", name=name)


def blenders(farm: FarmProcesses) -> list[psutil.Process]:
    """The Blenders of this farm that run now."""
    return [
        one
        for one in psutil.process_iter(["name", "cmdline"])
        if one.info["name"] == "blender" and any(str(farm.data) in word for word in one.info["cmdline"] or ())
    ]


def await_render(farm: FarmProcesses, job: Job, worker: str) -> None:
    """Wait until a Blender of `worker` has frame 1 in its hands, and no other Blender runs."""

    def renders() -> bool:
        frame = job.frame(1)
        return (frame.worker, frame.state) == (worker, "rendering") and len(blenders(farm)) == 1

    wait_for(renders, PATIENCE)


def test_a_worker_that_goes_in_a_frame_gives_it_to_another_and_leaves_no_blender(
    farm: FarmProcesses, management: Management, tmp_path: Path
) -> None:
    by_hand("-P", str(SCRIPT), "--", str(tmp_path))
    worker(farm, "first")
    farm.await_ready()
    with farm.farm() as client:
        job = client.submit(tmp_path / "slow.blend", "1")
        await_render(farm, job, "first")
        worker(farm, "second")
        assert farm.stop("first") == 0
        await_render(farm, job, "second")
        worker(farm, "third")
        farm.stop("second", signal.SIGKILL)
        await_render(farm, job, "third")
        # One that stands still is cut off by the broker, here at once; it comes back into a world that goes on.
        third = farm.running["third"]
        third.send_signal(signal.SIGSTOP)
        worker(farm, "fourth")
        management.close_connections(farm.broker_url.rsplit("/", 1)[1])
        wait_for(lambda: job.frame(1).worker == "fourth" and len(blenders(farm)) == 2, PATIENCE)
        third.send_signal(signal.SIGCONT)
        job.cancel()
        wait_for(lambda: blenders(farm) == [], PATIENCE)
        assert [one.state for one in job.attempts(1)][:3] == ["lost"] * 3


def test_blender_goes_when_its_job_has_ended(farm: FarmProcesses, tmp_path: Path) -> None:
    by_hand("-P", str(SCRIPT), "--", str(tmp_path))
    worker(farm, "first")
    farm.await_ready()
    with farm.farm() as client:
        job = client.submit(tmp_path / "plain.blend", "1-3")
        job.wait(PATIENCE)
        assert {one.worker for one in job.frames()} == {"first"}
        wait_for(lambda: blenders(farm) == [], 30)  # left alone, one waits for a minute
