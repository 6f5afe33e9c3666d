"""What kept a connection from opening: whether waiting may help, or somebody has to change something."""

from __future__ import annotations

import ssl

import pytest
from pika import exceptions

from distren.amqp import address
from distren.errors import AccessRefused, BrokerUnavailable, DistrenError, SettingsError

URL = "amqps://anna:secret@broker/farm"
LOST = repr(exceptions.StreamLostError("Stream connection lost: ConnectionResetError(104, 'Connection reset')"))


def closed(code: int, text: str) -> str:
    return repr(exceptions.ConnectionClosedByBroker(code, text))


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), BrokerUnavailable, "Connection refused"),
        (exceptions.ProbableAuthenticationError(LOST), BrokerUnavailable, "no broker answers"),
        (exceptions.ProbableAuthenticationError(closed(403, "ACCESS_REFUSED")), AccessRefused, "user 'anna'"),
        (exceptions.ProbableAccessDeniedError(LOST), BrokerUnavailable, "no broker answers"),
        (exceptions.ProbableAccessDeniedError(closed(530, "NOT_ALLOWED")), AccessRefused, "virtual host"),
        (exceptions.ProbableAccessDeniedError(closed(541, "vhost is down")), BrokerUnavailable, "no broker answers"),
        (untrusted(), SettingsError, "self-signed certificate"),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), BrokerUnavailable, "EOF occurred"),
    ],
)
def test_an_error_says_whether_waiting_may_help(error: Exception, kind: type[DistrenError], words: str) -> None:
    found = address.translate(exceptions.AMQPConnectionError(error), URL)
    assert type(found) is kind
    assert words in str(found)
    assert "secret" not in str(found)
