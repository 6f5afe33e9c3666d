"""Two servers on two brokers become peers, say how they are, and part again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from sites import Site, associate, site
from waiting import PATIENCE, wait_for

from distren import __version__
from distren.broker.management import Management
from distren.errors import AccessRefused, BrokerUnavailable, Conflict, InputError, NotFound, SettingsError
from distren.federation import address, association, operator


@pytest.fixture
def names() -> tuple[str, str]:
    """Of two servers that no other test has."""
    mark = secrets.token_hex(3)
    return f"alpha-{mark}", f"beta-{mark}"


@pytest.fixture
def alpha(names: tuple[str, str], tmp_path: Path, other_broker: Broker) -> Iterator[Site]:
    with other_broker.management() as management, site(names[0], tmp_path, other_broker, management) as made:
        yield made


@pytest.fixture
def beta(names: tuple[str, str], tmp_path: Path, broker: Broker, management: Management) -> Iterator[Site]:
    with site(names[1], tmp_path, broker, management) as made:
        yield made


def test_one_command_on_each_side_makes_two_peers(alpha: Site, beta: Site) -> None:
    associate(alpha, beta)
    seen = alpha.peer(beta.name)
    assert (seen.state, seen.role, seen.software, seen.reason) == ("up", "added", __version__, "")
    assert beta.peer(alpha.name).role == "accepted"
    wait_for(lambda: alpha.peer(beta.name).clock is not None)
    assert abs(alpha.peer(beta.name).clock or 0.0) < PATIENCE
    wait_for(lambda: not any(alpha.waiting(beta.name).values()) and not any(beta.waiting(alpha.name).values()))


def test_no_password_is_shown_to_anybody(alpha: Site, beta: Site) -> None:
    associate(alpha, beta)
    with alpha.engine.begin() as connection:
        address = connection.exec_driver_sql("SELECT address FROM peers").scalar_one()
    secret = address.split(":")[2].split("@")[0]
    assert len(secret) >= 32
    assert secret not in str(alpha.peer(beta.name).model_dump())
    assert secret not in str(beta.peer(alpha.name).model_dump())


def test_a_peers_user_can_do_nothing_but_send_and_take(alpha: Site, beta: Site, management: Management) -> None:
    associate(alpha, beta)
    (rights,) = management.request("GET", f"users/{beta.peer_vhost(alpha.name)}/permissions")
    assert rights["vhost"] == beta.peer_vhost(alpha.name)
    assert (rights["configure"], rights["write"]) == ("^$", r"^amq\.default$")
    found = [queue["name"] for queue in management.queues(beta.peer_vhost(alpha.name))]
    assert sorted(found) == [f"inbound.{alpha.name}", f"outbound.{alpha.name}"]
    with alpha.broker.management() as api:
        assert alpha.peer_vhost(beta.name) not in [one["name"] for one in api.request("GET", "users")]


def test_what_can_not_become_a_peer_is_refused_in_one_line(alpha: Site, beta: Site) -> None:
    given = operator.accept(beta.settings, alpha.name)
    refused = (
        (Conflict, "a peer already", lambda: operator.accept(beta.settings, alpha.name)),
        (Conflict, "called", lambda: operator.accept(beta.settings, beta.name)),
        (InputError, "was made by the server", lambda: operator.add(alpha.settings, "gamma", given)),
        (
            InputError,
            "for the server",
            lambda: operator.add(alpha.settings, beta.name, given.replace("_alpha", "_other")),
        ),
        (InputError, "is no address", lambda: operator.add(alpha.settings, beta.name, "amqp://localhost/")),
        (AccessRefused, "refuses the password", lambda: operator.add(alpha.settings, beta.name, _spoiled(given))),
        (BrokerUnavailable, "no broker answers", lambda: operator.add(alpha.settings, beta.name, _elsewhere(given))),
        (NotFound, "there is no peer", lambda: operator.remove(alpha.settings, "gamma")),
    )
    for kind, text, act in refused:
        with pytest.raises(kind, match=text) as caught:
            act()
        assert "\n" not in str(caught.value)
    with alpha.farm() as farm:
        assert farm.peers() == []
    operator.remove(beta.settings, alpha.name)
    operator.dissolve(beta.settings, alpha.name)
    with pytest.raises(AccessRefused):
        operator.add(alpha.settings, beta.name, given)


def _spoiled(address: str) -> str:
    user, _, rest = address.removeprefix("amqp://").partition(":")
    return f"amqp://{user}:wrong@{rest.partition('@')[2]}"


def _elsewhere(address: str) -> str:
    before, _, after = address.partition("@")
    return f"{before}@127.0.0.1:1/{after.partition('/')[2]}"


def test_peers_can_be_deployed_by_file(
    names: tuple[str, str], tmp_path: Path, other_broker: Broker, broker: Broker, management: Management
) -> None:
    secret = secrets.token_urlsafe(24)
    given = address.make(broker.amqp_url.split("@")[1].rstrip("/"), names[1], names[0], secret)
    with (
        other_broker.management() as api,
        site(names[1], tmp_path, broker, management, peers={names[0]: {"secret": secret}}) as beta,
        site(names[0], tmp_path, other_broker, api, peers={names[1]: {"address": given}}) as alpha,
    ):
        wait_for(lambda: alpha.hears(beta.name) and beta.hears(alpha.name))
        for here, peer in ((alpha, beta), (beta, alpha)):
            _delete_association(here, peer)
            with here.broker.management() as manager:
                manager.request("POST", "definitions", operator.definitions(here.settings))
        say_after = alpha.peer(beta.name).seen or 0.0
        wait_for(lambda: (alpha.peer(beta.name).seen or 0.0) > say_after and alpha.peer(beta.name).reason == "")


def _delete_association(here: Site, peer: Site) -> None:
    with here.broker.management() as manager:
        association.dissolve(manager, here.name, peer.name)


def test_a_setting_that_makes_no_peer_is_refused(names: tuple[str, str], tmp_path: Path, broker: Broker) -> None:
    made = Site(names[0], tmp_path, broker, "/", peers={"beta": {}})
    with pytest.raises(SettingsError, match="either an address or a secret"):
        operator.definitions(made.settings)
