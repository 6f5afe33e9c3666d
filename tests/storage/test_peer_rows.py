"""Peers in the database: what is owed is numbered, kept until it is confirmed, and numbered anew in a new epoch."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from distren.errors import Conflict, NotFound
from distren.storage import peers


@pytest.fixture
def beta(engine: Engine) -> str:
    with engine.begin() as connection:
        peers.add(connection, "beta", address="amqp://x", secret=None, now=1.0)
    return "beta"


def test_there_is_one_peer_of_a_name(engine: Engine, beta: str) -> None:
    with engine.begin() as connection:
        with pytest.raises(Conflict, match="is a peer already"):
            peers.add(connection, beta, address=None, secret="s", now=2.0)
        assert [peer.name for peer in peers.every(connection)] == ["beta"]
        peers.remove(connection, beta)
        with pytest.raises(NotFound):
            peers.by_name(connection, beta)


def test_what_is_owed_is_kept_until_it_is_confirmed(engine: Engine, beta: str) -> None:
    with engine.begin() as connection:
        assert [peers.owe(connection, beta, type="x", body=b"%d" % n, now=n) for n in range(4)] == [1, 2, 3, 4]
        peers.confirmed(connection, beta, below=3)
        assert [one.number for one in peers.owed(connection, beta, above=0, limit=9)] == [3, 4]
        assert peers.count_owed(connection, beta) == 2
        assert peers.owe(connection, beta, type="x", body=b"", now=9.0) == 5
        with pytest.raises(NotFound):
            peers.owe(connection, "gamma", type="x", body=b"", now=9.0)


def test_a_new_epoch_is_later_and_numbers_what_is_owed_from_one(engine: Engine, beta: str) -> None:
    with engine.begin() as connection:
        for number in range(3):
            peers.owe(connection, beta, type="x", body=b"%d" % number, now=5.0)
        peers.confirmed(connection, beta, below=2)
        before = peers.by_name(connection, beta)
        peers.renumber(connection, beta, now=0.5)  # the clock has been put back
        after = peers.by_name(connection, beta)
        assert after.epoch > before.epoch
        assert after.sent == 2
        found = peers.owed(connection, beta, above=0, limit=9)
        assert [(one.number, one.body) for one in found] == [(1, b"1"), (2, b"2")]
