"""Which broker a process uses: the one that was named, or the private one."""

from __future__ import annotations

from distren.broker import credentials
from distren.config import Settings
from distren.errors import BrokerUnavailable


def broker_url(settings: Settings) -> str:
    """The amqp:// URL of the broker to use. Raises BrokerUnavailable when none was named and none was ever started."""
    if settings.broker:
        return settings.broker
    known = credentials.read(settings.broker_folder)
    if known is None:
        raise BrokerUnavailable(
            f"no broker: {settings.broker_folder} holds none; start one with 'distren up' or 'distren broker start', "
            "or name one with --broker URL"
        )
    return known.amqp_url
