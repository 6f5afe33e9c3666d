"""Messages of a peer are taken once and in order, whatever order and number they come in."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import Connection, Engine

from distren.amqp.link import Delivery
from distren.federation.envelope import Envelope
from distren.federation.receiver import Receiver
from distren.storage import peers
from distren.wire.jobs import ShowJob

FIRST, LATER = "0" * 31 + "1", "0" * 31 + "2"


class Ear:
    """A receiver of one peer, and what it was told."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.heard = engine, list[int]()
        self._receiver = Receiver()
        self._receiver.on(ShowJob, self._hear)
        with engine.begin() as connection:
            peers.add(connection, "beta", address=None, secret="s", now=1.0)

    def _hear(self, connection: Connection, peer: str, message: ShowJob) -> None:
        self.heard.append(message.job)

    def take(self, number: int, *, epoch: str = FIRST, floor: int = 1) -> int:
        """The number that is wanted next."""
        envelope = Envelope(sender="beta", instance="i", to="x", epoch=epoch, number=number, floor=floor)
        delivery = Delivery(body=ShowJob(job=number).encode(), tag=1, session=1, queue="q")
        with self._engine.begin() as connection:
            receipt, _ = self._receiver.take(connection, envelope, delivery)
        return receipt.next


@pytest.fixture
def ear(engine: Engine) -> Ear:
    return Ear(engine)


def test_repeated_and_reordered_messages_are_taken_once_and_in_order(ear: Ear) -> None:
    chance = random.Random(7)
    numbers = [number for number in range(1, 21) for _ in range(3)]
    while len(ear.heard) < 20:
        chance.shuffle(numbers)
        for number in numbers:
            assert ear.take(number) == len(ear.heard) + 1
    assert ear.heard == list(range(1, 21))


def test_a_new_epoch_begins_at_one_and_the_old_one_is_over(ear: Ear) -> None:
    for number in (1, 2, 3):
        ear.take(number)
    assert ear.take(1, epoch=LATER) == 2
    ear.take(4, epoch=FIRST)
    assert ear.heard == [1, 2, 3, 1]
    assert ear.take(2, epoch=LATER) == 3


def test_a_receiver_that_has_forgotten_goes_on_where_the_sender_is(ear: Ear) -> None:
    assert ear.take(7, floor=7) == 8
    assert ear.take(6, floor=5) == 8
    assert ear.heard == [7]
