"""A broker that is low on memory takes no messages; the farm goes on with what it has, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import scripted
from brokers import control
from farm_processes import FarmProcesses
from waiting import wait_for

from distren.broker.private import PrivateBroker
from distren.client.farm import Farm
from distren.errors import BrokerUnavailable, NoAnswer

PATIENCE = 120.0
FRAMES = 60
TOLD = "the broker takes no messages now (low on memory)"


@pytest.fixture
def farm(private_node: PrivateBroker, tmp_path: Path) -> Iterator[FarmProcesses]:
    """A server and a worker beside a broker of their own."""
    processes = FarmProcesses(private_node.wait_ready().amqp_url, tmp_path / "farm")
    try:
        assert processes.distren("db", "upgrade").code == 0
        scripted.server(processes)
        scripted.worker(processes, "w1", DISTREN_SANDBOX="off")  # its frames leave a mark
        processes.await_ready()
        yield processes
    finally:
        processes.end()


def why_silent(client: Farm) -> str:
    """The client hears of the alarm as soon as it wants to send something."""
    with pytest.raises((BrokerUnavailable, NoAnswer)) as caught:
        client.describe(timeout=1.0)
    return str(caught.value)


def test_a_broker_that_is_low_on_memory_loses_no_frame(
    farm: FarmProcesses, private_node: PrivateBroker, tmp_path: Path
) -> None:
    """The server publishes frames, the worker results: both wait; what they have taken, they acknowledge."""
    begun, hold = tmp_path / "begun", tmp_path / "hold"
    each = f"echo >> {begun}; while [ -e {hold} ]; do sleep 0.02; done; {scripted.WRITE}; sleep 0.1"
    with farm.farm() as client:
        job = scripted.submit(client, tmp_path / "job", f"1-{FRAMES}", each)
        wait_for(lambda: job.info().counts.get("done", 0) > 5, PATIENCE)
        hold.touch()
        control(private_node, "set_vm_memory_high_watermark", "0.00001")
        hold.unlink()
        wait_for(lambda: TOLD in farm.log("w1"), PATIENCE)
        wait_for(lambda: "takes no messages now" in why_silent(client), PATIENCE)
        reached = begun.stat().st_size
        assert reached < FRAMES, "there is work left"
        control(private_node, "set_vm_memory_high_watermark", "0.4")
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, FRAMES, tmp_path / "out")
    assert farm.log("w1").count(TOLD) <= 2, "each of its connections says so once"
    farm.check_alive()
