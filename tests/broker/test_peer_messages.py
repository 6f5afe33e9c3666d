"""What must reach a peer reaches it once and in order, whatever becomes of brokers, shovels and queues on the way."""

from __future__ import annotations

from collections.abc import Callable

import pika
import pytest
from sites import Site, Two, until
from sqlalchemy import Connection

from distren.amqp.peers import OUTBOUND
from distren.broker.management import Management
from distren.errors import InputError
from distren.federation import receiver
from distren.wire.jobs import ShowJob

pytestmark = pytest.mark.usefixtures("soon")


class Ear:
    """Notes the numbers that a site is sent; it commits them to nothing but memory."""

    def __init__(self, at: Site) -> None:
        self.heard: list[int] = []
        at.server.federation.on(ShowJob, self._hear)

    def _hear(self, connection: Connection, peer: str, message: ShowJob) -> receiver.After:
        return lambda: self.heard.append(message.job)


def say(source: Site, target: Site, numbers: range) -> None:
    server = source.server.federation
    with source.engine.begin() as connection:
        for number in numbers:
            server.send(connection, target.name, ShowJob(job=number))
    server.wake()


def settled(*two: Site) -> Callable[[], bool]:
    alpha, beta = two

    def nothing_is_left() -> bool:
        queues = [*alpha.waiting(beta.name).values(), *beta.waiting(alpha.name).values()]
        return not any(queues) and alpha.peer(beta.name).owed == beta.peer(alpha.name).owed == 0

    return nothing_is_left


def test_messages_arrive_once_and_in_order_both_ways(two: Two) -> None:
    alpha, beta = two
    ears = Ear(alpha), Ear(beta)
    say(alpha, beta, range(800))
    say(beta, alpha, range(800))
    until(lambda: len(ears[0].heard) >= 800 and len(ears[1].heard) >= 800)
    assert ears[0].heard == ears[1].heard == list(range(800))
    until(settled(alpha, beta))


def test_a_change_that_is_undone_sends_nothing(two: Two) -> None:
    alpha, beta = two
    ear = Ear(beta)
    with alpha.engine.connect() as connection, connection.begin() as change:
        alpha.server.federation.send(connection, beta.name, ShowJob(job=1))
        change.rollback()
    say(alpha, beta, range(2, 3))
    until(lambda: ear.heard)
    assert ear.heard == [2]


def test_replayed_messages_change_nothing(two: Two) -> None:
    alpha, beta = two
    ear = Ear(beta)
    copies = _eavesdrop(alpha, beta, lambda: say(alpha, beta, range(5)))
    _replay(beta, alpha, [copies[number] for number in (3, 0, 0, 2, 1, 2, 4, 3, 4, 0)])
    say(alpha, beta, range(5, 6))
    until(lambda: len(ear.heard) >= 6)
    assert ear.heard == list(range(6))
    until(settled(alpha, beta))


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
    until(lambda: len(seen) == 2)
    with beta.engine.begin() as connection:
        kept = connection.exec_driver_sql("SELECT number FROM peer_outbox WHERE peer = 'x' ORDER BY 1").scalars().all()
        connection.exec_driver_sql("DELETE FROM peer_outbox WHERE peer = 'x'")
    assert seen == kept == [1, 3]


def test_a_server_that_is_away_gets_everything_when_it_is_back(two: Two) -> None:
    alpha, beta = two
    beta.stop()
    say(alpha, beta, range(300))
    beta.start()
    ear = Ear(beta)
    until(lambda: len(ear.heard) >= 300)
    say(alpha, beta, range(300, 301))
    until(lambda: ear.heard[-1] == 300)
    assert ear.heard == list(range(301))


def test_a_destination_queue_that_is_deleted_loses_nothing(two: Two, management: Management) -> None:
    alpha, beta = two
    ear = Ear(beta)
    say(alpha, beta, range(400))
    management.request("DELETE", f"queues/{beta.peer_vhost(alpha.name)}/inbound.{alpha.name}")
    say(alpha, beta, range(400, 800))
    until(lambda: len(ear.heard) >= 800)
    assert ear.heard == list(range(800))
    until(settled(alpha, beta))


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_message_that_stops_a_shovel_is_dropped_and_the_rest_arrives(two: Two, where: str) -> None:
    source, target = two if where == "here" else reversed(two)
    ear = Ear(target)
    say(source, target, range(50))
    with _channel(source, target.name) as channel:
        poison = pika.BasicProperties(user_id=source.broker.user)
        channel.basic_publish("", f"outbound.{target.name}", b"poison", poison)
    say(source, target, range(50, 100))
    until(lambda: len(ear.heard) >= 100)
    assert ear.heard == list(range(100))
    until(settled(*two))
    until(lambda: two[0].peer(two[1].name).reason == "")


def test_an_impostor_and_another_version_are_refused_on_both_sides(two: Two) -> None:
    alpha, beta = two
    ear = Ear(beta)
    copies = _eavesdrop(alpha, beta, lambda: say(alpha, beta, range(1)))
    assert ear.heard == [0]
    cases = (
        ("distren-from", "gamma", "came the way that belongs to"),
        ("distren-instance", "0" * 32, "two servers are called"),
        ("distren-version", 2, "speaks version 2"),
    )
    for header, value, text in cases:
        body, properties = copies[0]
        forged = pika.BasicProperties(type=properties.type, headers={**properties.headers, header: value})
        _replay(beta, alpha, [(body, forged)])
        until(lambda text=text: text in beta.server.federation.member(alpha.name).health.refused)
        until(lambda text=text: text in alpha.server.federation.member(beta.name).health.refused)
    assert ear.heard == [0]
    until(lambda: alpha.hears(beta.name) and beta.hears(alpha.name))


def _channel(at: Site, peer: str) -> pika.adapters.blocking_connection.BlockingChannel:
    parameters = pika.URLParameters(at.broker.url_of(at.peer_vhost(peer)))
    return pika.BlockingConnection(parameters).channel()


def _eavesdrop(source: Site, target: Site, act: Callable[[], None]) -> list[tuple[bytes, pika.BasicProperties]]:
    """Copies of the numbered messages that `act` makes `source` send."""
    with _channel(source, target.name) as channel:
        spy = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(spy, OUTBOUND, target.name)
        act()
        taken: dict[int, tuple[bytes, pika.BasicProperties]] = {}

        def all_taken() -> bool:
            while (message := channel.basic_get(spy, auto_ack=True))[0] is not None:
                number = (message[1].headers or {}).get("distren-number")
                if number is not None:
                    taken[number] = (message[2], message[1])
            return bool(taken) and source.peer(target.name).owed == 0

        until(all_taken)
    return [taken[number] for number in sorted(taken)]


def _replay(at: Site, peer: Site, messages: list[tuple[bytes, pika.BasicProperties]]) -> None:
    with _channel(at, peer.name) as channel:
        for body, properties in messages:
            channel.basic_publish("", f"inbound.{peer.name}", body, properties)
