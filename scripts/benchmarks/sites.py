"""Servers of a federation on this machine, each in a process of its own and with a virtual host of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.farm import BenchFarm
from distren.broker import credentials
from distren.broker.credentials import Credentials
from distren.broker.management import Management
from distren.broker.node import Node
from distren.client.farm import Farm
from distren.config import Settings
from distren.errors import DistrenError, NoAnswer
from distren.federation import operator

_LIMIT = 120.0
"""seconds that a server may take to start, and two to find each other"""


class Site:
    """A server in a process of its own."""

    def __init__(self, name: str, process: subprocess.Popen[str], settings: Settings) -> None:
        self.name, self.settings = name, settings
        self._process = process

    def do(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return json.loads(self.hear())

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def two_brokers(farm: BenchFarm, folder: Path) -> Iterator[tuple[Credentials, Credentials]]:
    """The farm's own broker, and another one in `folder` that is there until the end of the `with`."""
    here = credentials.read(farm.folder / "farm" / "broker")
    assert here is not None
    other = Node(folder / "broker", cluster_name="other")
    try:
        yield here, other.start(foreground=True)
    finally:
        other.erase()


@contextmanager
def site(name: str, folder: Path, broker: Credentials) -> Iterator[Site]:
    """A running server; at the end nothing of it is left on the broker."""
    vhost = f"bench-{name}"
    with Management.of(broker) as management:
        management.create_vhost(vhost)
    url = f"{broker.amqp_url}{vhost}"
    api = broker.management_url.replace("://", f"://{broker.user}:{broker.password}@")
    settings = Settings(data=folder / name, server=name, broker=url, management=api)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.site", name, str(settings.data), url, api],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    made = Site(name, process, settings)
    try:
        if made.hear().strip() != "ready":
            raise RuntimeError(f"the server {name} did not start: see {folder / name}.log")
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        with Management.of(broker) as management:
            for each in management.vhosts():
                if each == vhost or each.startswith(f"peer_{name}_"):
                    management.delete_vhost(each)


def associate(alpha: Site, beta: Site) -> None:
    """The servers notice it by themselves when they are told; here they are told by the clients."""
    given = operator.accept(beta.settings, "alpha")
    _reload(beta)
    operator.add(alpha.settings, "beta", given)
    _reload(alpha)
    deadline = time.monotonic() + _LIMIT
    with Farm(broker=alpha.settings.broker, data=alpha.settings.data) as farm:
        while farm.peers()[0].state != "up":
            if time.monotonic() > deadline:
                raise RuntimeError("the two servers did not find each other")
            time.sleep(0.1)


def _reload(site: Site) -> None:
    """As soon as the server answers."""
    deadline = time.monotonic() + _LIMIT
    with Farm(broker=site.settings.broker, data=site.settings.data) as farm:
        while True:
            try:
                farm.reload_peers()
                return
            except NoAnswer:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@contextmanager
def worker(at: Site, slots: int, renderer: str) -> Iterator[None]:
    """A worker of this server, ready to render, with a folder of its own, as if on another machine."""
    folder = at.settings.data / "worker-host"
    assert at.settings.broker is not None
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "distren-worker"), "--slots", str(slots), "--renderers", renderer]
    own = {name: value for name, value in os.environ.items() if not name.startswith("DISTREN_")}
    own |= {"DISTREN_BROKER": at.settings.broker, "DISTREN_DATA": str(folder)}
    own |= {"DISTREN_CONFIG": str(folder / "no-settings.toml")}
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _await_worker(at, renderer)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _await_worker(at: Site, renderer: str) -> None:
    deadline = time.monotonic() + _LIMIT
    with Farm(broker=at.settings.broker, data=at.settings.data) as farm:
        while True:
            try:
                if farm.describe(timeout=5.0).renderers.get(renderer, 0):
                    return
            except DistrenError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"the worker of {at.name} did not start: see {at.settings.data}")
            time.sleep(0.1)
