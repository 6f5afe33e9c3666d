"""Two processes of one server: one acts, the other stands by and takes over when that one dies, stops or is cut off."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import scripted
from farm_processes import FarmProcesses
from sqlalchemy import text
from waiting import wait_for

from distren.broker.management import Management
from distren.storage import schema
from distren.storage.engine import open_engine

PATIENCE = 60.0
TAKEN_OVER_WITHIN = 10.0
FRAMES = 100


@pytest.fixture(params=["sqlite"])
def pair(request: pytest.FixtureRequest, vhost_url: str, tmp_path: Path) -> Iterator[FarmProcesses]:
    """A farm with two server processes and a worker; a test may ask for another kind of database."""
    processes = FarmProcesses(vhost_url, tmp_path / "farm")
    if request.param == "postgresql":
        processes.variables["DISTREN_DATABASE"] = request.getfixturevalue("postgresql_url")
    try:
        done = processes.distren("db", "upgrade")
        assert done.code == 0, done.err
        scripted.server(processes, "first")
        scripted.worker(processes, "w1")
        processes.await_ready()
        scripted.server(processes, "second")
        wait_for(lambda: "stands by" in processes.log("second"), PATIENCE)
        yield processes
    finally:
        for process in processes.running.values():
            process.send_signal(signal.SIGCONT)
        processes.end()


def term(processes: FarmProcesses) -> int:
    sqlite = f"sqlite:///{processes.data / 'server' / 'distren.db'}"
    engine = open_engine(processes.variables.get("DISTREN_DATABASE", sqlite))
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT term FROM identity")).scalar_one())
    finally:
        engine.dispose()


def ready(processes: FarmProcesses, name: str) -> int:
    return processes.log(name).count("is ready")


def ready_at(processes: FarmProcesses, name: str) -> datetime:
    """When a process says that it became ready: we may look later."""
    line = next(line for line in processes.log(name).splitlines() if "is ready" in line)
    return datetime.fromisoformat(" ".join(line.split()[:2]))


@pytest.mark.parametrize(
    ("pair", "number"),
    [
        ("sqlite", signal.SIGKILL),
        ("sqlite", signal.SIGSTOP),
        ("sqlite", signal.SIGTERM),
        ("postgresql", signal.SIGKILL),
        ("postgresql", signal.SIGSTOP),
    ],
    indirect=["pair"],
)
def test_a_standby_takes_over_and_nothing_is_lost(
    pair: FarmProcesses, tmp_path: Path, number: signal.Signals, record_property: pytest.RecordProperty
) -> None:
    with pair.farm() as farm:
        job = scripted.submit(farm, tmp_path / "job", f"1-{FRAMES}", f"sleep 0.02; {scripted.WRITE}")
        wait_for(lambda: job.info().counts.get("done", 0) > 10, PATIENCE)
        first = pair.running["first"]
        first.send_signal(number)
        began = datetime.now()
        wait_for(lambda: ready(pair, "second") == 1, PATIENCE)
        took = (ready_at(pair, "second") - began).total_seconds()
        record_property("takeover_seconds", took)
        assert took < TAKEN_OVER_WITHIN
        if number is signal.SIGSTOP:
            first.send_signal(signal.SIGCONT)
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, FRAMES, tmp_path / "out")
    assert term(pair) == 2
    if number is signal.SIGSTOP and first.poll() is None:
        wait_for(lambda: pair.log("first").count("stands by") == 1, PATIENCE)
        assert "Traceback" not in pair.log("first")


def test_a_server_of_another_name_or_database_is_refused(pair: FarmProcesses, tmp_path: Path) -> None:
    for name, database, why in (("beta", "other.db", "'alpha'"), ("alpha", "third.db", "with another database")):
        url = f"sqlite:///{tmp_path / database}"
        schema.upgrade(url)
        refused = pair.distren("--server", name, "--database", url, program="server")
        assert refused.code == 8
        assert why in refused.err


def test_the_lead_comes_back_after_the_broker_has_closed_all_connections(
    pair: FarmProcesses, management: Management, tmp_path: Path
) -> None:
    vhost = pair.broker_url.rsplit("/", 1)[1]
    with pair.farm() as farm:
        job = scripted.submit(farm, tmp_path / "job", f"1-{FRAMES}", f"sleep 0.02; {scripted.WRITE}")
        wait_for(lambda: job.info().counts.get("done", 0) > 10, PATIENCE)
        wait_for(lambda: management.close_connections(vhost) > 0, PATIENCE)
        job.wait(timeout=PATIENCE)
        scripted.assert_whole(job, FRAMES, tmp_path / "out")
