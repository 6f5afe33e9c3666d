"""What an operator does on the machine of a server: let a peer in, associate with one, end that.

Changes the server's database and its broker. A server that runs has to be told (`peer.changed`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from distren.amqp import address as broker_address
from distren.broker import locate
from distren.config import Settings
from distren.errors import Conflict, SettingsError
from distren.federation import address, association
from distren.federation import definitions as file
from distren.storage import identity, schema
from distren.storage import peers as rows
from distren.storage.engine import open_engine
from distren.urls import server_name


def accept(settings: Settings, name: str, place: str | None = None) -> str:
    """Let the server `name` in; the address to give to it, with a fresh password.

    `place` is host:port under which it reaches our broker; by default what the settings say, or where we reach it.
    Raises Conflict (a peer already, or our own name), InputError, BrokerUnavailable, AccessRefused.
    """
    secret = secrets.token_urlsafe(24)
    with _database(settings) as (connection, own):
        _not_ourselves(own, name)
        given = address.make(place or settings.address or _own_place(settings), own, name, secret)
        peer = rows.add(connection, name, address=None, secret=secret, now=time.time())
        _establish(settings, own, peer)
    return given


def add(settings: Settings, name: str, given: str) -> None:
    """Associate with the server `name`, which has made the address `given` for us.

    Raises what `accept` raises, and NotFound where the association has been ended there.
    """
    with _database(settings) as (connection, own):
        _not_ourselves(own, name)
        text = address.check(given, own, name)
        peer = rows.add(connection, name, address=text, secret=None, now=time.time())
        address.probe(text, own)
        _establish(settings, own, peer)


def remove(settings: Settings, name: str) -> int:
    """End the association; how many messages the peer had not confirmed. Raises NotFound."""
    with _database(settings) as (connection, _):
        owed = rows.count_owed(connection, name)
        rows.remove(connection, name)
    return owed


def dissolve(settings: Settings, name: str) -> None:
    """After `remove`, when the server knows: take away what is left on our broker."""
    with _database(settings) as (_, own), locate.management(settings) as management:
        association.dissolve(management, own, name)


def definitions(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """All associations, those of the configuration file included, as a RabbitMQ definitions file; with passwords."""
    with _database(settings) as (connection, own):
        adopt(connection, settings, time.time())
        user = broker_address.user(locate.broker_url(settings))
        return file.definitions(own, rows.every(connection), user)


def adopt(connection: Connection, settings: Settings, now: float) -> None:
    """Record the peers of the configuration file; where it says something else than before, it wins."""
    for name, given in settings.peers.items():
        address_given = None if given.address is None else given.address.get_secret_value()
        secret = None if given.secret is None else given.secret.get_secret_value()
        if (address_given is None) == (secret is None):
            raise SettingsError(f"the setting 'peers.{name}' needs either an address or a secret")
        own = identity.stored_name(connection) or settings.server
        if address_given is not None:
            address_given = address.check(address_given, own, server_name(name))
        known = rows.find(connection, server_name(name))
        if known is None:
            rows.add(connection, server_name(name), address=address_given, secret=secret, now=now)
        elif (known.address, known.secret) != (address_given, secret):
            rows.change(connection, known.name, address=address_given, secret=secret)


@contextmanager
def _database(settings: Settings) -> Iterator[tuple[Connection, str]]:
    """A transaction on the server's database, and the server's name; raises SchemaError, OutputError, Conflict."""
    engine = open_engine(settings.database_url)
    try:
        schema.check(engine)
        with engine.begin() as connection:
            given = "server" in settings.model_fields_set
            name = None if given else identity.stored_name(connection)
            yield connection, identity.claim(connection, (name or settings.server).lower(), time.time())
    finally:
        engine.dispose()


def _not_ourselves(own: str, name: str) -> None:
    if own == name:
        raise Conflict(
            f"this server is called '{own}' itself: two servers of one name can not be peers, and a name never changes"
        )


def _establish(settings: Settings, own: str, peer: rows.Peer) -> None:
    """Within the transaction, so that a broker that refuses leaves no peer behind."""
    user = broker_address.user(locate.broker_url(settings))
    with locate.management(settings) as management:
        association.establish(management, own, peer, farm_user=user)


def _own_place(settings: Settings) -> str:
    parts = urlsplit(locate.broker_url(settings))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
