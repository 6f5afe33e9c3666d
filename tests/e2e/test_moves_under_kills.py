"""A job is handed over while a server is killed at each step: it is at one server then, and every frame is done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import scripted
from brokers import Broker
from farm_processes import FarmProcesses, command_line
from waiting import wait_for

from distren.broker.management import Management
from distren.failpoints import POINTS, VARIABLE

PATIENCE = 90.0
AT_THE_RECEIVER = ("server.move.take.before", "server.move.take.after")
STEPS = [name for name in POINTS if name.startswith("server.move.")]


@dataclass(frozen=True, kw_only=True)
class Farms:
    """Two servers that look into files for the point at which they are to die; beta has the worker."""

    alpha: FarmProcesses
    beta: FarmProcesses

    def start(self, name: str) -> None:
        processes: FarmProcesses = getattr(self, name)
        scripted.server(processes, called=name, **{VARIABLE: f"@{processes.data / 'failpoint'}"})

    def arm(self, name: str, point: str) -> None:
        (getattr(self, name).data / "failpoint").write_text(point)

    def await_death(self, name: str) -> None:
        """Wait until the server has died at its point, and start it again without one."""
        process = getattr(self, name).running["server"]
        wait_for(lambda: process.poll() is not None, PATIENCE)
        assert process.returncode == -signal.SIGKILL, getattr(self, name).log("server")[-2000:]
        self.arm(name, "")
        self.start(name)


@pytest.fixture(scope="module")
def farms(broker: Broker, management: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farms]:
    folder = tmp_path_factory.mktemp("farms")
    vhosts = ("moving-alpha", "moving-beta", "peer_alpha_beta", "peer_beta_alpha")
    api = broker.management_url.replace("://", f"://{broker.user}:{broker.password}@")
    for vhost in vhosts[:2]:
        management.create_vhost(vhost)
    made = Farms(
        alpha=FarmProcesses(broker.url_of(vhosts[0]), folder / "alpha", variables={"DISTREN_MANAGEMENT": api}),
        beta=FarmProcesses(broker.url_of(vhosts[1]), folder / "beta", variables={"DISTREN_MANAGEMENT": api}),
    )
    made.alpha.variables["DISTREN_LEND"] = "never"
    try:
        for name in ("alpha", "beta"):
            upgraded = getattr(made, name).distren("db", "upgrade")
            assert upgraded.code == 0, upgraded.err
            made.start(name)
        scripted.worker(made.beta, "worker")
        made.alpha.await_ready(workers=0)
        made.beta.await_ready()
        given = made.beta.distren("peer", "accept", "alpha").out.strip()
        added = made.alpha.distren("peer", "add", "beta", given, "--json")
        assert added.json["state"] == "up", added.out + added.err
        yield made
    finally:
        made.alpha.end()
        made.beta.end()
        for vhost in set(management.vhosts()) & set(vhosts):
            management.delete_vhost(vhost)


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_dies_while_a_job_is_handed_over_loses_and_doubles_nothing(
    farms: Farms, tmp_path: Path, step: str
) -> None:
    dying = "beta" if step in AT_THE_RECEIVER else "alpha"
    with farms.alpha.farm() as farm, farms.beta.farm() as other:
        job = scripted.submit(farm, tmp_path / "job", "1-3")
        before = {one.job for one in other.jobs()}
        farms.arm(dying, step)
        command = command_line("main", ["move", str(job.id), "beta"])
        moving = subprocess.Popen(command, env=farms.alpha.environment(), stdout=subprocess.DEVNULL)
        try:
            farms.await_death(dying)
            assert moving.wait(PATIENCE) == 0
        finally:
            moving.kill()
        job.wait(timeout=PATIENCE)
        assert job.server == "beta"
        scripted.assert_whole(job, 3, tmp_path / "out")
        assert {one.job for one in other.jobs()} - before == {job.id}
        assert list(farm.jobs()) == []
