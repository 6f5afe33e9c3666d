"""What must reach a peer reaches it once and in order, whatever becomes of brokers, shovels and queues on the way."""

from __future__ import annotations

import pika
import pytest
from sites import Two
from spies import Ear, channel, eavesdrop, replay, say, settled
from sqlalchemy import Connection
from waiting import wait_for

from distren.broker.management import Management
from distren.errors import InputError
from distren.federation import health, receiver
from distren.wire.jobs import ShowJob

pytestmark = pytest.mark.usefixtures("soon")


def test_messages_arrive_once_and_in_order_both_ways(two: Two) -> None:
    alpha, beta = two
    ears = Ear(alpha), Ear(beta)
    say(alpha, beta, range(800))
    say(beta, alpha, range(800))
    wait_for(lambda: len(ears[0].heard) >= 800 and len(ears[1].heard) >= 800)
    assert ears[0].heard == ears[1].heard == list(range(800))
    wait_for(settled(alpha, beta))


def test_a_change_that_is_undone_sends_nothing(two: Two) -> None:
    alpha, beta = two
    ear = Ear(beta)
    with alpha.engine.connect() as connection, connection.begin() as change:
        alpha.server.federation.send(connection, beta.name, ShowJob(job=1))
        change.rollback()
    say(alpha, beta, range(2, 3))
    wait_for(lambda: ear.heard)
    assert ear.heard == [2]


def test_replayed_messages_change_nothing(two: Two) -> None:
    alpha, beta = two
    ear = Ear(beta)
    copies = eavesdrop(alpha, beta, lambda: say(alpha, beta, range(5)))
    replay(beta, alpha, [copies[number] for number in (3, 0, 0, 2, 1, 2, 4, 3, 4, 0)])
    say(alpha, beta, range(5, 6))
    wait_for(lambda: len(ear.heard) >= 6)
    assert ear.heard == list(range(6))
    wait_for(settled(alpha, beta))


def test_a_message_that_comes_to_nothing_is_undone_and_holds_up_no_other(two: Two) -> None:
    alpha, beta = two
    seen: list[int] = []

    def refuse_the_second(connection: Connection, peer: str, message: ShowJob) -> receiver.After:
        connection.exec_driver_sql(f"INSERT INTO peer_outbox VALUES ('x', {message.job}, 'x', x'00', 0)")
        if message.job == 2:
            raise InputError("not this one")
        return lambda: seen.append(message.job)

    beta.server.federation.on(ShowJob, refuse_the_second)
    say(alpha, beta, range(1, 4))
    wait_for(lambda: len(seen) == 2)
    with beta.engine.begin() as connection:
        kept = connection.exec_driver_sql("SELECT number FROM peer_outbox WHERE peer = 'x' ORDER BY 1").scalars().all()
        connection.exec_driver_sql("DELETE FROM peer_outbox WHERE peer = 'x'")
    assert seen == kept == [1, 3]


def test_a_server_that_is_away_gets_everything_when_it_is_back(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta = two
    beta.stop()
    say(alpha, beta, range(300))
    ear = Ear.from_the_start(monkeypatch)
    beta.start()
    wait_for(lambda: len(ear.heard) >= 300)
    say(alpha, beta, range(300, 301))
    wait_for(lambda: ear.heard[-1] == 300)
    assert ear.heard == list(range(301))


def test_a_destination_queue_that_is_deleted_loses_nothing(two: Two, management: Management) -> None:
    alpha, beta = two
    ear = Ear(beta)
    say(alpha, beta, range(400))
    management.request("DELETE", f"queues/{beta.peer_vhost(alpha.name)}/inbound.{alpha.name}")
    say(alpha, beta, range(400, 800))
    wait_for(lambda: len(ear.heard) >= 800)
    assert ear.heard == list(range(800))
    wait_for(settled(alpha, beta))


def test_a_server_that_the_broker_gives_nothing_any_more_listens_anew(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As RabbitMQ does where a queue is deleted and declared by somebody else at once; here the consumer just ends."""
    alpha, beta = two
    monkeypatch.setattr(health, "DOWN_AFTER", 3.0)
    ear = Ear(beta)
    link = beta.server.federation.member(alpha.name).link
    assert link._link is not None
    link._link.cancel(f"from {alpha.name}")
    say(alpha, beta, range(20))
    wait_for(lambda: len(ear.heard) >= 20)
    assert ear.heard == list(range(20))
    wait_for(settled(alpha, beta))


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_message_that_stops_a_shovel_is_dropped_and_the_rest_arrives(two: Two, where: str) -> None:
    source, target = two if where == "here" else reversed(two)
    ear = Ear(target)
    say(source, target, range(50))
    with channel(source, target.name) as own:
        poison = pika.BasicProperties(user_id=source.broker.user)
        own.basic_publish("", f"outbound.{target.name}", b"poison", poison)
    say(source, target, range(50, 100))
    wait_for(lambda: len(ear.heard) >= 100)
    assert ear.heard == list(range(100))
    wait_for(settled(*two))
    wait_for(lambda: two[0].peer(two[1].name).reason == "")
