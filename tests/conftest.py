"""Fixtures for tests that need a broker: `broker`, `vhost_url`, `private_node`; `--broker` picks which one."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from distren.broker.management import Management
from distren.broker.private import PrivateBroker
from distren.errors import DistrenError

sys.path.insert(0, str(Path(__file__).parent))  # tests share `brokers`, and are no package

import brokers

pytest_plugins = ["databases", "sites"]
hypothesis.settings.register_profile("distren", deadline=None)  # how long an example takes is the machine's load
hypothesis.settings.load_profile("distren")

LONGEST_FIRST = ["chaos", "e2e", "broker", "model", "storage", "unit"]
"""the folders of tests, by how long a file of theirs takes"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=["local", "container"],
        default=None,
        help="RabbitMQ of this machine, or RabbitMQ 4 in a container; default: container where an engine answers",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: short ones fill what is left of the processes of `scripts/test`."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, LONGEST_FIRST.index(item.path.parent.name)))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What a test, or a command in it, has done to logging ends with it: the next one may look for what is logged."""
    loggers = (logging.getLogger(), logging.getLogger("distren"), logging.getLogger("pika"))
    before = [(one, one.level, one.propagate, [*one.handlers]) for one in loggers]
    yield
    logging.disable(logging.NOTSET)
    for one, level, propagate, handlers in before:
        one.setLevel(level)
        one.propagate = propagate
        one.handlers[:] = handlers


@pytest.fixture(scope="session")
def broker_kind(request: pytest.FixtureRequest) -> brokers.Kind:
    """What runs the brokers of this session."""
    wanted: brokers.Kind | None = request.config.getoption("--broker")
    here = brokers.kinds_here()
    if wanted is not None and wanted not in here:
        brokers.missing(f"--broker {wanted} can not be run on this machine")
    if not here:
        brokers.missing("neither a container engine nor rabbitmq-server on this machine")
    return wanted or here[0]


@pytest.fixture(scope="session")
def broker(broker_kind: brokers.Kind) -> Iterator[brokers.Broker]:
    """One broker for the whole session; tests share it, so they use `vhost_url`."""
    with brokers.running(broker_kind) as running:
        yield running


@pytest.fixture(scope="session")
def management(broker: brokers.Broker) -> Iterator[Management]:
    """The management API of `broker`."""
    with broker.management() as client:
        yield client


@pytest.fixture(scope="session")
def other_broker(broker: brokers.Broker) -> Iterator[brokers.Broker]:
    """A second broker, of this machine; with `--broker container` the two are of different versions.

    It reaches `broker`, and need not be reached by it.
    """
    if "local" not in brokers.kinds_here():
        brokers.missing("no rabbitmq-server on this machine for a second broker")
    with brokers.local() as running:
        yield running


@pytest.fixture
def vhost_url(broker: brokers.Broker, management: Management) -> Iterator[str]:
    """The amqp:// URL of an empty virtual host that is this test's own."""
    name = f"test-{secrets.token_hex(6)}"
    management.create_vhost(name)
    yield broker.url_of(name)
    management.delete_vhost(name)


@pytest.fixture
def new_private_broker(broker_kind: brokers.Kind, tmp_path: Path) -> Iterator[Callable[..., PrivateBroker]]:
    """Makes private brokers that are not started, each in a folder `name`; they are erased after the test."""
    made: dict[str, PrivateBroker] = {}

    def make(name: str = "broker", **settings: str) -> PrivateBroker:
        made[name] = brokers.private(broker_kind, tmp_path / name, **settings)
        return made[name]

    yield make
    for each in made.values():
        each.erase()


@pytest.fixture
def private_node(new_private_broker: Callable[..., PrivateBroker]) -> PrivateBroker:
    """A running private broker of this test's own, to stop, kill and start again."""
    made = new_private_broker("private")
    try:
        made.start(foreground=True)
    except DistrenError as error:
        pytest.fail(f"the private broker did not start: {error}", pytrace=False)
    return made
