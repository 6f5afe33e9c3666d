"""The brokers that tests use: a RabbitMQ node of this machine, or RabbitMQ 4 in a container."""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

from distren import resources
from distren.broker import engine, server_program
from distren.broker.container import IMAGE, IMAGE_VARIABLE, Container
from distren.broker.management import Management
from distren.broker.node import Node
from distren.broker.private import PrivateBroker

Kind = Literal["local", "container"]
_AMQP, _MANAGEMENT = 5672, 15672


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A broker that runs as long as the test session; `amqp_url` is that of its virtual host `/`.

    `folder` is where a node of this machine keeps its logs and data, `name` that of a container.
    """

    kind: Kind
    amqp_url: str
    management_url: str
    user: str
    password: str
    version: str
    folder: Path | None = None
    name: str | None = None

    def management(self) -> Management:
        """A client of its management API; to be closed."""
        return Management(self.management_url, self.user, self.password)

    def url_of(self, vhost: str) -> str:
        """The amqp:// URL of a virtual host whose name needs no escape."""
        return f"{self.amqp_url.rstrip('/')}/{vhost}"


def missing(what: str) -> NoReturn:
    """Nothing to run the test with: a failure on CI, a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {what}", pytrace=False)
    pytest.skip(what)


def kinds_here() -> list[Kind]:
    """What this machine can run, the preferred one first."""
    found: list[Kind] = []
    if engine.find() is not None:
        found.append("container")
    if server_program.find() is not None:
        found.append("local")
    return found


def private(kind: Kind, folder: Path, **settings: Any) -> PrivateBroker:
    """A private broker, not started; `erase` ends it."""
    return Node(folder, **settings) if kind == "local" else Container(folder, **settings)


def control(broker: PrivateBroker, *arguments: str) -> str:
    """What `rabbitmqctl ARGUMENTS` says, for a private broker that runs."""
    known = broker.wait_ready()
    if isinstance(broker, Container):
        return broker._engine.run("exec", broker.name, "rabbitmqctl", *arguments)
    assert isinstance(broker, Node)
    program = server_program.find()
    assert program is not None
    command = [str(program.with_name("rabbitmqctl")), "-n", known.node, *arguments]
    environment = broker._environment(known)
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def running(kind: Kind) -> Iterator[Broker]:
    """A broker of this kind, and its end, also when this process is killed."""
    with local() if kind == "local" else container() as broker:
        yield broker


@contextmanager
def local() -> Iterator[Broker]:
    """A node of this machine's RabbitMQ in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="distren-broker-", ignore_cleanup_errors=True) as folder:
        node = Node(Path(folder) / "node")
        known = node.start(foreground=True)
        try:
            with Management.of(known) as management:
                version = management.version()
            yield Broker(
                kind="local",
                amqp_url=known.amqp_url,
                management_url=known.management_url,
                user=known.user,
                password=known.password,
                version=version,
                folder=node.folder,
            )
        finally:
            node.kill()


@contextmanager
def container() -> Iterator[Broker]:
    """RabbitMQ's official image through testcontainers, with the settings and plugins of our own brokers."""
    # Its reaper is an image to fetch; a shell that waits for our end does the same without one.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.community.rabbitmq import RabbitMqContainer

    user, password, files = "distren", secrets.token_hex(16), resources.folder("broker")
    made = RabbitMqContainer(os.environ.get(IMAGE_VARIABLE) or IMAGE, username=user, password=password)
    made.with_volume_mapping(str(files / "enabled_plugins"), "/etc/rabbitmq/enabled_plugins", "ro")
    made.with_volume_mapping(str(files / "rabbitmq.conf"), "/etc/rabbitmq/conf.d/20-distren.conf", "ro")
    made.with_exposed_ports(_AMQP, _MANAGEMENT)
    name = f"distren-test-{secrets.token_hex(6)}"
    made.with_name(name)
    with _removed_with_us(name), made:
        host = made.get_container_host_ip()
        management_url = f"http://{host}:{made.get_exposed_port(_MANAGEMENT)}"
        with Management(management_url, user, password) as management:
            version = management.version()
        yield Broker(
            kind="container",
            amqp_url=f"amqp://{user}:{password}@{host}:{made.get_exposed_port(_AMQP)}/",
            management_url=management_url,
            user=user,
            password=password,
            version=version,
            name=name,
        )


@contextmanager
def _removed_with_us(name: str) -> Iterator[None]:
    """Remove the container `name` when this process ends, however it ends."""
    found = engine.find()
    assert found is not None
    command = 'cat >/dev/null; exec "$0" rm --force --volumes "$1"'
    guard = subprocess.Popen(
        ["sh", "-c", command, str(found.program), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate()
