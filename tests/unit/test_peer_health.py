"""How a peer is, from what has been heard of it and when."""

from __future__ import annotations

import pytest

from distren.errors import DecodeError, InputError
from distren.federation import address, envelope
from distren.federation.envelope import Envelope
from distren.federation.health import DOWN_AFTER, Health
from distren.wire.peers import Hello


def hello(sent: float, **more: float) -> Hello:
    return Hello(software="1.0", sent=sent, **more)


def test_a_peer_is_new_then_up_then_down_since_it_was_last_heard() -> None:
    health = Health()
    assert (health.state(0.0), health.since(0.0)) == ("new", None)
    assert health.hear(hello(1.0), now=1_000.0, steady=10.0)
    assert not health.hear(hello(2.0), now=1_015.0, steady=25.0)
    assert (health.state(30.0), health.since(30.0)) == ("up", 1_000.0)
    late = 25.0 + DOWN_AFTER + 0.1
    assert (health.state(late), health.since(late)) == ("down", 1_015.0)
    assert health.hear(hello(3.0), now=1_100.0, steady=late)


def test_a_peer_is_not_down_before_it_could_be_heard() -> None:
    health = Health(seen=1000.0, opened=50.0)
    assert health.state(50.0 + DOWN_AFTER) == "new"
    assert health.state(51.0 + DOWN_AFTER) == "down"
    health.hear(Hello(software="1", sent=1.0), 1100.0, 60.0)
    assert health.state(60.0) == "up"
    assert health.state(61.0 + DOWN_AFTER) == "down"


def test_who_is_not_heard_is_listened_to_anew_once_in_a_while() -> None:
    health = Health(opened=100.0)
    assert [at for at in range(100, 300, 15) if health.is_overdue(at)] == [160, 220, 280]
    health.hear(hello(1.0), now=1.0, steady=300.0)
    assert not health.is_overdue(340.0)


def test_the_difference_of_the_clocks_leaves_the_way_out_of_account() -> None:
    health = Health()
    # We said hello at 100 by our clock; it took 2 s there, stayed 5 s, and 2 s back. Their clock is 30 s ahead.
    health.hear(hello(137.0, echo=100.0, held=5.0), now=109.0, steady=9.0)
    assert health.clock == pytest.approx(30.0)


def test_a_refusal_is_news_once_and_fades_when_it_is_not_repeated() -> None:
    health = Health()
    health.hear(hello(1.0), now=0.0, steady=0.0)
    assert health.refuse("two of one name", now=1.0, steady=1.0)
    assert not health.refuse("two of one name", now=2.0, steady=2.0)
    assert (health.state(3.0), health.why(3.0)) == ("refused", "two of one name")
    assert health.state(2.0 + DOWN_AFTER + 1.0) == "down"
    health.hear(hello(9.0), now=9.0, steady=9.0)
    assert (health.state(9.0), health.why(9.0)) == ("up", "")


def test_an_envelope_is_read_as_it_was_written() -> None:
    plain = Envelope(sender="alpha", instance="a" * 32, to="distren.requests")
    numbered = Envelope(sender="alpha", instance="a" * 32, to="x", hops=2, epoch="e" * 32, number=7, floor=3)
    assert envelope.read(plain.headers()) == plain
    assert envelope.read(numbered.headers()) == numbered


@pytest.mark.parametrize(
    "broken", [{"distren-from": 5}, {"distren-to": ""}, {"distren-hops": -1}, {"distren-hops": True}]
)
def test_a_broken_envelope_is_refused(broken: dict[str, object]) -> None:
    headers = Envelope(sender="alpha", instance="a" * 32, to="x").headers()
    with pytest.raises(DecodeError):
        envelope.read({**headers, **broken})
    with pytest.raises(DecodeError):
        envelope.read({name: value for name, value in headers.items() if name not in broken})


def test_an_address_names_both_servers() -> None:
    made = address.make("amqps://farm.example", "beta", "alpha", "s/e:cret")
    assert made == "amqps://peer_beta_alpha:s%2Fe%3Acret@farm.example:5671/peer_beta_alpha"
    assert address.check(f" {made}\n", "alpha", "beta") == made
    with pytest.raises(InputError, match="made by the server 'beta', not by 'gamma'"):
        address.check(made, "alpha", "gamma")
    with pytest.raises(InputError, match="made for the server 'alpha', and this is 'delta'"):
        address.check(made, "delta", "beta")
    with pytest.raises(InputError, match="HOST:PORT"):
        address.make("http://farm.example", "beta", "alpha", "secret")
