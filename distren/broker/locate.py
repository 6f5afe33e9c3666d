"""Which broker a process uses: the one that was named, or the private one."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from distren.broker import credentials
from distren.broker.management import Management
from distren.config import Settings
from distren.errors import BrokerUnavailable, SettingsError


def management(settings: Settings) -> Management:
    """A client of the broker's management API. Raises SettingsError, and BrokerUnavailable as `broker_url` does."""
    if settings.management is not None:
        parts = urlsplit(settings.management)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.username:
            raise SettingsError("the setting 'management' can not be used: write http://user:password@host:port")
        port = f":{parts.port}" if parts.port else ""
        return Management(
            f"{parts.scheme}://{parts.hostname}{port}", unquote(parts.username), unquote(parts.password or "")
        )
    url = broker_url(settings)
    known = credentials.read(settings.broker_folder)
    if known is not None and known.amqp_url == url:
        return Management.of(known)
    parts = urlsplit(url)
    return Management(
        f"http://{parts.hostname}:15672", unquote(parts.username or "guest"), unquote(parts.password or "guest")
    )


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
