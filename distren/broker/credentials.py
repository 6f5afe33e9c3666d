"""What is kept about a private broker between its starts: user, ports, addresses; only its owner can read it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from distren.errors import OutputError, SettingsError

FILE = "broker.json"
HOST = "127.0.0.1"
Kind = Literal["node", "container"]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The TCP ports of one node, all on 127.0.0.1; a container publishes only the first three."""

    amqp: int
    management: int
    prometheus: int
    distribution: int
    epmd: int


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """How to reach a private broker; made at its first start and constant from then on."""

    kind: Kind
    """what runs the broker: a RabbitMQ of this machine, or a container"""
    node: str
    """name of the Erlang node; the data are stored under it"""
    user: str
    password: str
    cookie: str
    """Erlang's shared secret: who has it commands the node"""
    ports: Ports

    @property
    def amqp_url(self) -> str:
        return f"amqp://{self.user}:{self.password}@{HOST}:{self.ports.amqp}/"

    @property
    def management_url(self) -> str:
        """Address of the management UI and API, without the user."""
        return f"http://{HOST}:{self.ports.management}"


def generate(kind: Kind, ports: Ports) -> Credentials:
    """New credentials; the password needs no escape in a URL or in rabbitmq.conf."""
    return Credentials(
        kind=kind,
        node="distren@localhost",
        user="distren",
        password=secrets.token_hex(16),
        cookie=secrets.token_hex(16).upper(),
        ports=ports,
    )


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` at once or not at all, readable by its owner only. Raises OutputError."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OutputError(f"{path} can not be written: {error.strerror}") from error


def write(folder: Path, credentials: Credentials) -> None:
    """Keep `credentials` in `folder`, with the URLs beside them for other programs. Raises OutputError."""
    urls = {"amqp_url": credentials.amqp_url, "management_url": credentials.management_url}
    write_private(folder / FILE, json.dumps(urls | asdict(credentials), indent=2) + "\n")


def read(folder: Path) -> Credentials | None:
    """The credentials of the private broker in `folder`; None when it was never started. Raises SettingsError."""
    path = folder / FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        kept["ports"] = Ports(**kept["ports"])
        return Credentials(**{name: kept[name] for name in Credentials.__dataclass_fields__})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path} can not be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(
            f"{path} is damaged: write it again from a copy, or remove {folder} to begin with an empty broker"
        ) from error
