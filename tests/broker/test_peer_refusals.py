"""What stands between two peers is said in one line on both sides, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pytest
from brokers import Broker
from sites import Site, Two, associate, pair, part
from spies import Ear, Message, eavesdrop, replay, say, settled
from trials.proxy import Proxy
from waiting import wait_for

from distren.errors import DistrenError, NoAnswer, NotFound
from distren.federation import health, operator
from distren.federation.envelope import MOST_HOPS
from distren.federation.health import Health

pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture(scope="module")
def two(
    soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker, line: Proxy
) -> Iterator[Two]:
    """Two peers; the brokers' only way to each other is `line`."""
    with pair(tmp_path_factory.mktemp("sites"), other_broker, broker, f"127.0.0.1:{line.port}") as made:
        yield made


def says(at: Site, peer: Site, text: str) -> bool:
    """Whether `at` says this of its peer, in one line."""
    reason = at.peer(peer.name).reason
    assert "\n" not in reason
    return text in reason


def forged(message: Message, **headers: object) -> Message:
    """The message with other headers: `to` stands for distren-to."""
    body, properties = message
    changed = {**(properties.headers or {}), **{f"distren-{name}": value for name, value in headers.items()}}
    return body, pika.BasicProperties(type=properties.type, headers=changed)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"from": "gamma"}, "came the way that belongs to"),
        ({"instance": "0" * 32}, "two servers are called"),
        ({"version": 2}, "speaks version 2"),
    ],
)
def test_an_impostor_and_another_version_are_refused_on_both_sides(
    two: Two, headers: dict[str, object], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the next hello, which may come a moment later."""
    alpha, beta = two
    ear, refuse, refused = Ear(beta), Health.refuse, list[tuple[Health, str]]()

    def noted(one: Health, reason: str, now: float, steady: float) -> bool:
        refused.append((one, reason))
        return refuse(one, reason, now, steady)

    def has_refused(at: Site, peer: Site) -> bool:
        mine = at.server.federation.member(peer.name).health
        return any(one is mine and text in reason for one, reason in refused)

    monkeypatch.setattr(Health, "refuse", noted)
    copies = eavesdrop(alpha, beta, lambda: say(alpha, beta, range(1)))
    assert ear.heard == [0]
    replay(beta, alpha, [forged(copies[0], **headers)])
    wait_for(lambda: has_refused(beta, alpha) and has_refused(alpha, beta))
    assert ear.heard == [0]
    wait_for(lambda: alpha.hears(beta.name) and beta.hears(alpha.name))


def test_what_is_sent_while_the_other_side_refuses_arrives_when_it_does_no_more(two: Two) -> None:
    alpha, beta = two
    ear, there = Ear(beta), beta.server.federation.member(alpha.name)
    instance, there.instance = there.instance, "0" * 32  # beta has known another server of alpha's name
    say(alpha, beta, range(40))
    wait_for(lambda: alpha.peer(beta.name).state == beta.peer(alpha.name).state == "refused")
    assert says(alpha, beta, f"'{beta.name}' refuses us: two servers are called '{alpha.name}'")
    assert says(beta, alpha, f"two servers are called '{alpha.name}'")
    with alpha.farm(at=beta.name) as farm, pytest.raises(NoAnswer, match="two servers are called"):
        list(farm.jobs())
    assert not ear.heard
    there.instance = instance
    wait_for(lambda: len(ear.heard) >= 40)
    assert ear.heard == list(range(40))
    wait_for(settled(alpha, beta))


def test_a_message_that_has_passed_too_many_servers_goes_no_further(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    alpha, beta = two
    ear = Ear(beta)
    copies = eavesdrop(alpha, beta, lambda: say(alpha, beta, range(1)))
    number = copies[0][1].headers["distren-number"]
    replay(beta, alpha, [forged(copies[0], hops=MOST_HOPS + 1, number=number + 1)])
    wait_for(lambda: "it goes round in a circle" in caplog.text)
    say(alpha, beta, range(1, 2))
    wait_for(lambda: len(ear.heard) >= 2)
    assert ear.heard == [0, 1]


@pytest.mark.parametrize("fault", ["cut", "hole"])
def test_a_peer_that_can_not_be_reached_is_named_on_both_sides_and_gets_all_later(
    two: Two, line: Proxy, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = two
    ears = Ear(alpha), Ear(beta)
    monkeypatch.setattr(health, "DOWN_AFTER", 3.0)
    getattr(line, fault)()
    try:
        wait_for(lambda: alpha.peer(beta.name).state == beta.peer(alpha.name).state == "down")
        say(alpha, beta, range(20))
        say(beta, alpha, range(20))
        wait_for(lambda: says(beta, alpha, "does its broker reach this one?"))
        if fault == "cut":  # a black hole says nothing until the shovel's heartbeat is missed
            wait_for(lambda: says(alpha, beta, "no broker answers at amqp://127.0.0.1:"))
        with alpha.farm(at=beta.name) as farm, pytest.raises(NoAnswer, match=f"'{beta.name}' is down since"):
            list(farm.jobs())
        assert (ears[0].heard, ears[1].heard) == ([], [])
    finally:
        line.heal()
    monkeypatch.setattr(health, "DOWN_AFTER", 20.0)
    wait_for(lambda: len(ears[0].heard) >= 20 and len(ears[1].heard) >= 20)
    assert ears[0].heard == ears[1].heard == list(range(20))
    wait_for(settled(alpha, beta))
    wait_for(lambda: says(alpha, beta, "") and alpha.hears(beta.name) and beta.hears(alpha.name))


def test_a_server_that_is_no_peer_any_more_is_told_so(two: Two, line: Proxy) -> None:
    alpha, beta = two
    operator.remove(beta.settings, alpha.name)
    beta.reload()
    operator.dissolve(beta.settings, alpha.name)
    wait_for(lambda: says(alpha, beta, "refuses the password of user"))
    with beta.farm(at=alpha.name) as farm, pytest.raises(NotFound, match=f"there is no server '{alpha.name}' here"):
        list(farm.jobs())
    say(alpha, beta, range(3))
    assert alpha.peer(beta.name).owed >= 3  # and what room there is, where that has changed
    with pytest.raises(DistrenError):
        part(beta, alpha)  # beta knows nobody of this name
    assert operator.remove(alpha.settings, beta.name) >= 3
    alpha.reload()
    operator.dissolve(alpha.settings, beta.name)
    associate(alpha, beta, f"127.0.0.1:{line.port}")
