"""What every private broker can do, whichever program runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distren.broker.credentials import Credentials

START_LIMIT = 90.0
"""seconds until a broker that is not ready counts as failed; 4 to 8 are usual, a loaded machine takes longer"""


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is known of a private broker; without `running`, `pid` and `version` are None."""

    running: bool
    """its processes exist; `ready` once clients can log in"""
    ready: bool
    kind: str
    pid: int | None
    amqp_url: str | None
    """with the password; None before the first start"""
    management_url: str | None
    version: str | None
    folder: Path
    log: Path | str
    """file, or the command that shows the log of a container"""


class PrivateBroker(Protocol):
    """A RabbitMQ of our own in a folder of its own."""

    folder: Path

    def start(self, *, foreground: bool = False) -> Credentials:
        """Start the broker and return once clients can log in.

        With `foreground` it ends with this process, however that ends; else it stays until `stop`.
        Raises Conflict (it is running or being started, or a port is taken), BrokerUnavailable (it did not come up,
        with the reason), OutputError (the folder can not be written).
        """

    def stop(self) -> bool:
        """Stop the broker in good order, keeping its data; False when it did not run."""

    def kill(self) -> None:
        """End the broker at once, as a crash would."""

    def erase(self) -> None:
        """End the broker at once and delete its folder with all data."""

    def status(self) -> Status:
        """How it is now."""

    def wait_ready(self, limit: float = START_LIMIT) -> Credentials:
        """Return once clients can log in; raises BrokerUnavailable after `limit` seconds, or when it has ended."""
