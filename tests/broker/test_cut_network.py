"""Two RabbitMQs of different versions on two networks: what joins these is cut, and joined again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from brokers import Broker
from hands import Hands, held, submit
from sites import Two, ended, frames, offered, pair
from spies import Ear, say, settled
from waiting import wait_for

from distren.broker import engine
from distren.broker.engine import Engine
from distren.federation import health

pytestmark = [pytest.mark.usefixtures("soon"), pytest.mark.container]
LIMIT = 150.0
"""seconds: a shovel sees only by two missed heartbeats, of 20 s each, that nothing comes any more"""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the container engine's between this machine and one container, which has another one as well."""

    engine: Engine
    name: str
    container: str
    ip: str

    def join(self) -> None:
        self.engine.run("network", "connect", "--ip", self.ip, self.name, self.container)

    def cut(self) -> None:
        """As when a cable is pulled out: nobody is told."""
        self.engine.run("network", "disconnect", self.name, self.container)


@pytest.fixture(scope="module")
def network(broker: Broker) -> Iterator[Network]:
    if broker.name is None:
        pytest.skip("'--broker container' runs it")
    found = engine.find()
    assert found is not None
    name, part = f"distren-test-{secrets.token_hex(6)}", f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
    found.run("network", "create", "--subnet", f"{part}.0/28", name)
    made = Network(engine=found, name=name, container=broker.name, ip=f"{part}.7")
    try:
        made.join()
        yield made
        made.cut()
    finally:
        found.run("network", "rm", name)


@pytest.fixture(scope="module")
def two(
    soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker, network: Network
) -> Iterator[Two]:
    """Two peers; the brokers' only way to each other is `network`, the servers' to their brokers is another one."""
    with pair(tmp_path_factory.mktemp("sites"), other_broker, broker, f"{network.ip}:5672") as made:
        yield made


def test_a_network_that_is_cut_loses_nothing_between_two_versions_of_rabbitmq(
    two: Two, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = two
    assert alpha.broker.version.split(".")[0] != beta.broker.version.split(".")[0]
    ears = Ear(alpha), Ear(beta)
    with Hands(alpha, slots=1) as ours, Hands(beta, slots=1) as theirs:
        wait_for(lambda: offered(alpha, beta) > 0)
        ours.go.clear()
        theirs.go.clear()
        job = submit(alpha, "1-30")
        wait_for(lambda: theirs.began and ours.began)
        monkeypatch.setattr(health, "DOWN_AFTER", 4.0)
        network.cut()
        try:
            say(alpha, beta, range(100))
            say(beta, alpha, range(100))
            wait_for(lambda: alpha.peer(beta.name).state == beta.peer(alpha.name).state == "down")
            theirs.go.set()
            wait_for(lambda: theirs.done)
            assert not ears[0].heard
            assert not ears[1].heard
        finally:
            network.join()
        monkeypatch.setattr(health, "DOWN_AFTER", 20.0)
        wait_for(lambda: len(ears[0].heard) >= 100 and len(ears[1].heard) >= 100, LIMIT)
        ours.go.set()
        wait_for(lambda: ended(alpha, job))
        assert [ear.heard for ear in ears] == [list(range(100))] * 2
        assert {one.state for one in frames(alpha, job)} == {"done"}
        assert set(ours.done + theirs.done) == set(range(1, 31))
        wait_for(lambda: not held(beta))
        wait_for(settled(alpha, beta), LIMIT)
