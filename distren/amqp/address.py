"""A broker's address: its URL as pika's parameters, as text without the password, and what went wrong there."""

from __future__ import annotations

import re
import ssl
from urllib.parse import unquote, urlsplit

import pika
from pika import exceptions

from distren.errors import AccessRefused, BrokerUnavailable, DistrenError, SettingsError

_PORTS = {"amqp": 5672, "amqps": 5671}
_REFUSED = re.compile(r"ConnectionClosedByBroker: \((403|530)\)")
"""in the text of pika's error: the broker has said that it wants us not, and did not only go away"""
_PASSES = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""TLS errors that only say that the other end has gone"""


def parameters(url: str, *, name: str, heartbeat: int) -> pika.URLParameters:
    """pika's parameters for `url`, with the connection's `name` for the management UI; raises SettingsError."""
    if urlsplit(url).scheme not in _PORTS:
        raise SettingsError(f"'{shown(url)}' is no broker URL: write amqp://user:password@host:port/vhost")
    try:
        made = pika.URLParameters(url)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"'{shown(url)}' is no broker URL: {error}") from error
    made.heartbeat = heartbeat
    made.client_properties = {"connection_name": name, "product": "DistRen"}
    made.blocked_connection_timeout = None
    made.socket_timeout = 10
    made.stack_timeout = 15
    return made


def shown(url: str) -> str:
    """The URL without its user and password."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme, 5672)
    except ValueError:
        return f"{parts.scheme}://{parts.hostname}"
    vhost = "" if parts.path in ("", "/", "/%2f", "/%2F") else parts.path
    return f"{parts.scheme}://{parts.hostname}:{port}{vhost}"


def user(url: str) -> str:
    """Who logs in with the URL."""
    return unquote(urlsplit(url).username or "guest")


def translate(error: object, url: str) -> DistrenError:
    """What kept pika from opening a connection to `url`, as one of our errors.

    BrokerUnavailable where waiting may help; AccessRefused and SettingsError where somebody has to change something.
    """
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, exceptions.ProbableAuthenticationError) and _REFUSED.search(str(cause)):
            return AccessRefused(f"the broker at {shown(url)} refuses the password of user '{user(url)}'")
        if isinstance(cause, exceptions.ProbableAccessDeniedError) and _REFUSED.search(str(cause)):
            return AccessRefused(f"the broker at {shown(url)} refuses access to its virtual host")
        if isinstance(cause, exceptions.ConnectionClosedByBroker) and cause.reply_code in (403, 530):
            return AccessRefused(f"the broker at {shown(url)} refuses access: {cause.reply_text}")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _PASSES):
            reason = getattr(cause, "verify_message", "") or (cause.reason or str(cause)).replace("_", " ").lower()
            return SettingsError(
                f"no TLS with the broker at {shown(url)} ({reason}): give the port on which it speaks TLS, and a "
                "certificate that this machine trusts, or write amqp://"
            )
    texts = "; ".join(dict.fromkeys(_reasons(causes)))
    return BrokerUnavailable(f"no broker answers at {shown(url)} ({texts or type(error).__name__}): is it running?")


def _causes(error: object) -> list[object]:
    found: list[object] = [error]
    for name in ("exceptions", "exception"):
        inner = getattr(error, name, None)
        for one in inner if isinstance(inner, list | tuple) else [inner]:
            if isinstance(one, BaseException):
                found += _causes(one)
    if isinstance(error, BaseException):
        for one in error.args:
            if isinstance(one, BaseException):
                found += _causes(one)
    return found


def _reasons(causes: list[object]) -> list[str]:
    return [
        cause.strerror or str(cause)
        for cause in causes
        if isinstance(cause, OSError) and (cause.strerror or str(cause))
    ]
