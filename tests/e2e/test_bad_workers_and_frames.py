"""A worker that fails what others render is quarantined; a frame that ends every worker is given up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted
from farm_processes import FarmProcesses
from waiting import wait_for

from distren.client.farm import Farm
from distren.errors import JobFailed
from distren.wire.jobs import WorkerInfo

PATIENCE = 90.0


@pytest.fixture
def processes(vhost_url: str, tmp_path: Path) -> Iterator[FarmProcesses]:
    made = FarmProcesses(vhost_url, tmp_path / "farm")
    try:
        done = made.distren("db", "upgrade")
        assert done.code == 0, done.err
        scripted.server(made, DISTREN_KILLS="2")
        yield made
    finally:
        made.end()


def worker(farm: Farm, name: str) -> WorkerInfo:
    return next(one for one in farm.workers() if one.worker == name)


def bad(processes: FarmProcesses) -> None:
    """A worker whose frames all fail."""
    scripted.worker(processes, "bad", DISTREN_PROGRAMS='{"scripted": "bad"}')


FAILS_AT_BAD = f'if [ "$PROGRAM" = bad ]; then echo no memory; exit 3; fi; sleep 0.05; {scripted.WRITE}'


def test_a_worker_that_fails_what_others_render_is_quarantined_until_it_is_released_or_restarted(
    processes: FarmProcesses, tmp_path: Path
) -> None:
    scripted.worker(processes, "good")
    bad(processes)
    processes.await_ready(workers=2)
    with processes.farm() as farm:
        job = scripted.submit(farm, tmp_path / "job", "1-60", FAILS_AT_BAD, attempts=5)
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, 60, tmp_path / "out")
        wait_for(lambda: worker(farm, "bad").state == "quarantined", PATIENCE)
        listed = {one["worker"]: one for one in processes.distren("workers", "--json").json}
        assert "different frames in a row" in listed["bad"]["trouble"]
        assert "quarantined" in processes.distren("workers").out
        assert "distren workers release bad" in processes.log("server")
        released = processes.distren("workers", "release", "bad", "--json")
        assert released.json["trouble"] is None
        assert processes.distren("workers", "release", "bad").code == 8
        assert processes.distren("workers", "release", "nobody").code == 4
        wait_for(lambda: worker(farm, "bad").state == "working", PATIENCE)
        again = scripted.submit(farm, tmp_path / "again", "1-60", FAILS_AT_BAD, attempts=5)
        again.wait(timeout=PATIENCE)
        wait_for(lambda: worker(farm, "bad").state == "quarantined", PATIENCE)
        processes.stop("bad")
        bad(processes)
        wait_for(lambda: worker(farm, "bad").state == "working", PATIENCE)


def test_a_frame_that_ends_its_workers_is_given_up_and_the_rest_goes_on(
    processes: FarmProcesses, tmp_path: Path
) -> None:
    for name in ("w1", "w2", "w3"):
        scripted.worker(processes, name, slots=1)
    processes.await_ready(workers=3)
    with processes.farm() as farm:
        job = scripted.submit(farm, tmp_path / "job", "1-6", f'if [ "$1" = 3 ]; then sleep 99; fi; {scripted.WRITE}')
        for _ in range(2):
            processes.stop(holder(farm, processes, (job.id, 3)), signal.SIGKILL)
        with pytest.raises(JobFailed):
            job.wait(timeout=PATIENCE)
        info, frame = job.info(), job.frame(3)
    assert info.counts == {"done": 5, "failed": 1}
    assert frame.reason is not None
    assert frame.reason.startswith("it ended every worker that rendered it, 2 times: w")


def holder(farm: Farm, processes: FarmProcesses, frame: tuple[int, int]) -> str:
    """The worker that renders a frame, once one that lives does: the server may not know yet which do not."""
    found: list[str] = []

    def held() -> bool:
        found[:] = [one.worker for one in farm.workers() if frame in one.held and one.worker in processes.running]
        return len(found) == 1 and farm.job(frame[0]).frame(frame[1]).worker == found[0]

    wait_for(held, PATIENCE)
    return found[0]


def test_a_frame_that_is_tried_again_says_when_and_why(processes: FarmProcesses, tmp_path: Path) -> None:
    scripted.worker(processes, "good")
    processes.await_ready()
    with processes.farm() as farm:
        script = f'if [ ! -e "{tmp_path}/mended" ]; then echo "error: no light"; exit 1; fi; {scripted.WRITE}'
        job = scripted.submit(farm, tmp_path / "job", "1", script, attempts=9)
        wait_for(lambda: job.frame(1).tried is not None, PATIENCE)
        assert "no light" in (job.frame(1).reason or "") or "status 1" in (job.frame(1).reason or "")
        wait_for(lambda: "tried" in processes.distren("frames", str(job.id)).out, PATIENCE)
        job.cancel()
