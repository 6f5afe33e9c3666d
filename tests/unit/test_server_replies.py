"""When a server may acknowledge the request that it has replied to."""

from __future__ import annotations

from typing import Any

from distren.amqp.link import Delivery
from distren.amqp.publisher import Done, Outgoing
from distren.errors import NotFound
from distren.server.replies import Replies
from distren.wire.jobs import Describe, Description

REPLY = Description(server="alpha", software="0", renderers={})


class Broker:
    """Has taken nothing until the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[Outgoing, Done]] = []

    def publish(self, message: Outgoing, done: Done) -> None:
        self.sent.append((message, done))


def request(reply_to: str | None = "client.x") -> Delivery:
    return Delivery(body=Describe().encode(), tag=1, session=1, queue="q", reply_to=reply_to, correlation_id="c")


def made(broker: Any, wakes: list[bool]) -> Replies:
    return Replies(broker, lambda: wakes.append(True))


def test_a_request_is_open_until_the_broker_has_the_reply() -> None:
    broker, wakes, asked = Broker(), list[bool](), request()
    replies = made(broker, wakes)
    replies.expect(asked)
    assert replies.open == [asked]
    replies.send(asked, REPLY)
    (message, done) = broker.sent.pop()
    assert (message.key, message.correlation_id, message.persistent) == ("client.x", "c", True)
    assert replies.settle() == []
    assert replies.open == [asked]
    assert not wakes
    done(None)
    assert wakes
    assert replies.open == [asked]
    assert replies.settle() == [asked]
    assert replies.open == []
    assert replies.settle() == []


def test_a_request_whose_sender_has_gone_is_settled_as_well() -> None:
    broker, asked = Broker(), request()
    replies = made(broker, [])
    replies.send(asked, REPLY)
    broker.sent.pop()[1](NotFound("no queue"))
    assert replies.settle() == [asked]


def test_who_wants_no_reply_gets_none() -> None:
    broker, asked = Broker(), request(None)
    replies = made(broker, [])
    replies.expect(asked)
    replies.send(asked, REPLY)
    assert replies.open == []
    assert not broker.sent
