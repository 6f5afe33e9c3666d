"""Fixtures: `server` and its `player`, or `farm`, a worker's side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from players import Player, RunningServer, player_of, running, settings
from worker_farm import WorkerFarm


@pytest.fixture
def server(vhost_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    """A server called alpha, on a virtual host of its own."""
    with running(vhost_url, settings(tmp_path / "farm")) as made:
        yield made


@pytest.fixture
def player(server: RunningServer) -> Iterator[Player]:
    """Client and worker of `server`."""
    with player_of(server) as made:
        yield made


@pytest.fixture
def farm(vhost_url: str, tmp_path: Path) -> Iterator[WorkerFarm]:
    """A virtual host for workers, whose server the test plays."""
    made = WorkerFarm(vhost_url, tmp_path)
    yield made
    made.close()
