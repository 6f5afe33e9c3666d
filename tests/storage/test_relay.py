"""What the broker has confirmed leaves the outbox, whatever becomes of the transaction in which it was to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from distren.amqp.publisher import Done, Outgoing
from distren.server.relay import Relay
from distren.storage import outbox


class Broker:
    """Confirms what it is given when the test says so."""

    def __init__(self) -> None:
        self.taken: list[Done] = []

    def publish(self, message: Outgoing, done: Done) -> None:
        self.taken.append(done)


def test_what_a_failed_transaction_was_to_settle_leaves_with_the_next(engine: Engine) -> None:
    """Or it would be published again when the server is started the next time, long after it was dealt with."""
    broker: Any = Broker()
    relay = Relay(broker)
    with engine.begin() as connection:
        owed = outbox.add(connection, [("exchange", "key", b"one"), ("exchange", "key", b"two")])
    relay.send(owed)
    broker.taken[0](None)
    with engine.connect() as connection, connection.begin() as change:
        relay.settle(connection)
        change.rollback()
    assert relay.unsettled
    broker.taken[1](None)
    with engine.begin() as connection:
        relay.settle(connection)
    relay.settled()
    assert not relay.unsettled
    with engine.begin() as connection:
        assert outbox.waiting(connection) == []
