"""The address under which one server lets another in: an amqp:// URL whose virtual host names both of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

import pika
from pika import exceptions

from distren.amqp import address, peers
from distren.errors import InputError, NotFound


def make(place: str, own: str, peer: str, secret: str) -> str:
    """The address that `own` gives to `peer`; `place` is its broker as amqp[s]://host:port. Raises InputError."""
    parts = urlsplit(place if "://" in place else f"amqp://{place}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"'{place}' is no place of a broker: write HOST:PORT or amqps://HOST:PORT") from error
    if parts.scheme not in ("amqp", "amqps") or not host:
        raise InputError(f"'{place}' is no place of a broker: write HOST:PORT or amqps://HOST:PORT")
    name = peers.vhost(own, peer)
    where = f"[{host}]" if ":" in host else host
    port = port or (5671 if parts.scheme == "amqps" else 5672)
    return f"{parts.scheme}://{name}:{quote(secret, safe='')}@{where}:{port}/{name}"


def check(given: str, own: str, peer: str) -> str:
    """The address without white space, once it is one that `peer` made for `own`. Raises InputError."""
    text = given.strip()
    parts = urlsplit(text)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or not parts.password or "\n" in text:
        raise InputError(f"that is no address of a server: 'distren peer accept {own}' on '{peer}' prints one")
    maker, guest = peers.names(unquote(parts.path.lstrip("/")))
    if maker != peer:
        raise InputError(f"the address was made by the server '{maker}', not by '{peer}'")
    if guest != own:
        raise InputError(f"the address was made for the server '{guest}', and this is '{own}'")
    return text


def probe(given: str, own: str) -> None:
    """Log in at `given` and look for the queues of `own` there.

    Raises BrokerUnavailable, AccessRefused, SettingsError, and NotFound where the association has been ended there.
    """

    def look(connection: pika.BlockingConnection) -> None:
        for queue in (peers.inbound(own), peers.outbound(own)):
            connection.channel().queue_declare(queue.name, passive=True)

    _at(given, own, look)


def purge(given: str, queue: str, own: str) -> int:
    """Empty a queue at `given`; how many messages were dropped. Raises as `probe` does."""
    dropped: list[int] = []
    _at(
        given, own, lambda connection: dropped.append(connection.channel().queue_purge(queue).method.message_count or 0)
    )
    return dropped[0]


def _at(given: str, own: str, work: Callable[[pika.BlockingConnection], None]) -> None:
    parameters = address.parameters(given, name=f"server {own} (a look at a peer)", heartbeat=20)
    quiet = logging.getLogger("pika")  # pika logs what it raises, and we report what is raised
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        connection = pika.BlockingConnection(parameters)
        try:
            work(connection)
        finally:
            if connection.is_open:
                connection.close()
    except exceptions.ChannelClosedByBroker as error:
        raise NotFound(
            f"the broker at {address.shown(given)} has no queue for '{own}': 'distren peer accept {own}' makes it there"
        ) from error
    except (exceptions.AMQPError, OSError) as error:
        raise address.translate(error, given) from error
    finally:
        quiet.setLevel(level)
