"""Whether a broker accepts clients: an AMQP login that succeeds."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import pika
from pika import exceptions

from distren.amqp import address
from distren.errors import BrokerUnavailable

_LOOK_EVERY = 0.05  # seconds; a look at a closed port costs well under 1 ms
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


def log_in(url: str) -> None:
    """Open an AMQP connection to `url` and close it. Raises BrokerUnavailable, AccessRefused, SettingsError."""
    parameters = address.parameters(url, name="readiness", heartbeat=20)
    quiet = logging.getLogger("pika")  # pika logs what it raises, and we report what is raised
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        pika.BlockingConnection(parameters).close()
    except (exceptions.AMQPError, OSError) as error:
        raise address.translate(error, url) from error
    finally:
        quiet.setLevel(level)


def greets(host: str, port: int) -> bool:
    """Whether something that speaks AMQP answers there; a container's port is open long before its broker is."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(_PROTOCOL_HEADER)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False


def wait(url: str, *, alive: Callable[[], bool], limit: float) -> None:
    """Return once a client can log in to `url`.

    Raises BrokerUnavailable when `alive` says no or after `limit` seconds, AccessRefused for a wrong password.
    """
    parameters = address.parameters(url, name="readiness", heartbeat=20)
    end = time.monotonic() + limit
    while not (greets(parameters.host, parameters.port) and _lets_in(url)):
        if not alive():
            raise BrokerUnavailable(f"the broker at {address.shown(url)} ended before it was ready")
        if time.monotonic() > end:
            raise BrokerUnavailable(f"the broker at {address.shown(url)} was not ready after {limit:.0f} s")
        time.sleep(_LOOK_EVERY)


def _lets_in(url: str) -> bool:
    """Whether a client can log in; one that greets may take longer than we wait for a login while it starts."""
    try:
        log_in(url)
    except BrokerUnavailable:
        return False
    return True
