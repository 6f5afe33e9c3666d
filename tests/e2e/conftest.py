"""`farm`: a server called alpha and one worker with two slots, as processes, beside the tests' broker.

The worker offers what the tests use: to ask a Blender and a Mitsuba takes longer than to start the rest.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from farm_processes import FarmProcesses

from distren.broker.management import Management

if TYPE_CHECKING:
    import brokers


@pytest.fixture(scope="module")
def farm_broker(broker: brokers.Broker, management: Management) -> Iterator[str]:
    """The amqp:// URL of a virtual host of this module's own."""
    name = f"farm-{secrets.token_hex(6)}"
    management.create_vhost(name)
    yield broker.url_of(name)
    management.delete_vhost(name)


@pytest.fixture(scope="module")
def farm(farm_broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcesses]:
    """A running farm, ended after the module's last test."""
    processes = FarmProcesses(farm_broker, tmp_path_factory.mktemp("farm"))
    try:
        made = processes.distren("db", "upgrade")
        assert made.code == 0, made.err
        processes.start("server", "--server", "alpha")
        processes.start("worker", "--slots", "2", "--name", "render-1", "--renderers", "encode,merge,povray")
        processes.await_ready()
        yield processes
    finally:
        processes.end()
