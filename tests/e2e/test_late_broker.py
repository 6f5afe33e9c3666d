"""Programs that are started while their broker is away: they say so once, wait, and come in when it is there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted
from farm_processes import FarmProcesses
from line import Line
from waiting import wait_for

PATIENCE = 60.0
WAITS = "no connection to the broker, trying again until it is back"


@pytest.fixture
def line(vhost_url: str) -> Iterator[Line]:
    """A broker that does not answer yet."""
    made = Line(vhost_url)
    made.cut()
    yield made
    made.close()


@pytest.fixture
def waiting(line: Line, tmp_path: Path) -> Iterator[FarmProcesses]:
    """A server and a worker that wait for their broker."""
    processes = FarmProcesses(line.url, tmp_path / "farm")
    try:
        assert processes.distren("db", "upgrade").code == 0
        scripted.server(processes)
        scripted.worker(processes, "w1")
        wait_for(lambda: all(WAITS in processes.log(name) for name in processes.running), PATIENCE)
        yield processes
    finally:
        processes.end()


def test_a_server_and_a_worker_wait_for_their_broker(waiting: FarmProcesses, line: Line, tmp_path: Path) -> None:
    calls = line.calls
    wait_for(lambda: line.calls >= calls + 4, PATIENCE)
    waiting.check_alive()
    assert [waiting.log(name).count(WAITS) for name in waiting.running] == [1, 1]
    line.mend()
    waiting.await_ready()
    with waiting.farm() as farm:
        job = scripted.submit(farm, tmp_path / "job", "1-3")
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, 3, tmp_path / "out")


def test_whoever_waits_for_a_broker_can_be_ended(waiting: FarmProcesses) -> None:
    assert [waiting.stop(name, signal.SIGTERM) for name in list(waiting.running)] == [0, 0]


@pytest.mark.parametrize("program", ["server", "worker"])
def test_what_waiting_can_not_mend_is_said_at_once(vhost_url: str, tmp_path: Path, program: str) -> None:
    processes = FarmProcesses(f"{vhost_url}-missing", tmp_path / "farm")
    assert processes.distren("db", "upgrade").code == 0
    refused = processes.distren(program=program, PYTHONPATH=scripted.SITE)
    assert (refused.code, refused.out) == (6, "")
    assert "refuses access to its virtual host" in refused.err
    tls = processes.distren(program=program, DISTREN_BROKER=vhost_url.replace("amqp://", "amqps://"))
    assert tls.code == 3
    assert "no TLS with the broker" in tls.err
