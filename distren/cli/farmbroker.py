"""The broker of `distren up`: a private one that lives and ends with it, or the one that the settings name."""

from __future__ import annotations

import time

import psutil

from distren.amqp import address
from distren.broker.choose import private_broker
from distren.broker.credentials import Credentials
from distren.broker.private import PrivateBroker
from distren.config import Settings
from distren.errors import DistrenError

_LOOK_EVERY = 2.0
"""seconds between looks at the broker's processes"""
_LONGEST_WAIT = 30.0


class FarmBroker:
    """Started once by `start`; `check` starts a private broker that died again. From the main thread alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._private: PrivateBroker | None = None
        self._credentials: Credentials | None = None
        self._pid: int | None = None
        self._next_look = 0.0
        self._wait = 1.0
        self._down = False

    @property
    def is_private(self) -> bool:
        return self._settings.broker is None

    def start(self) -> None:
        """Start the private broker and wait until it is ready (seconds). Raises what `PrivateBroker.start` raises."""
        if self.is_private:
            self._private = private_broker(self._settings.broker_folder, cluster_name=self._settings.server)
            self._credentials = self._private.start(foreground=True)
            self._pid = self._private.status().pid

    @property
    def url(self) -> str:
        """With user and password: not to be shown."""
        if self._settings.broker is not None:
            return self._settings.broker
        assert self._credentials is not None
        return self._credentials.amqp_url

    @property
    def shown(self) -> str:
        """The address without the password."""
        return address.shown(self.url)

    @property
    def management(self) -> str | None:
        """Where the management UI of the private broker is."""
        return None if self._credentials is None else self._credentials.management_url

    @property
    def login(self) -> str | None:
        """User and password of the management UI."""
        known = self._credentials
        return None if known is None else f"user {known.user}, password {known.password}"

    def check(self, now: float) -> str | None:
        """Start a private broker that has died again; what there is to say, if anything."""
        if self._private is None or now < self._next_look:
            return None
        self._next_look = now + _LOOK_EVERY
        if self._runs(self._private):
            return None
        if not self._down:
            self._down, self._next_look = True, now + self._wait
            return f"the broker has ended, starting it again in {self._wait:.0f} s"
        try:
            self._private.start(foreground=True)
            self._pid = self._private.status().pid
        except DistrenError as error:
            self._wait = min(self._wait * 2, _LONGEST_WAIT)
            self._next_look = time.monotonic() + self._wait
            return f"the broker does not start, trying again in {self._wait:.0f} s: {error}"
        self._down, self._wait = False, 1.0
        return "the broker runs again"

    def _runs(self, private: PrivateBroker) -> bool:
        """Whether its process lives: asking the broker itself each time would fill its log."""
        if self._pid is None:
            return private.status().running
        try:
            return bool(psutil.Process(self._pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> None:
        """Stop the private broker, keeping its data; a foreign one is left alone."""
        if self._private is not None:
            self._private.stop()
