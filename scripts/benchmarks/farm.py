"""A farm for the benchmark: private broker, server and worker as processes of their own, in a temporary folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.measure import say
from distren import Farm
from distren.broker import credentials
from distren.broker.credentials import Credentials
from distren.broker.management import Management
from distren.errors import DistrenError

_START_WITHIN = 60.0
_END_WITHIN = 30.0
"""seconds"""
_BIN = Path(sys.executable).parent


class BenchFarm:
    """A broker and a server in `folder`, and the workers that the rows ask for one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {n: v for n, v in os.environ.items() if not n.startswith("DISTREN_")} | {
            "DISTREN_DATA": str(folder / "farm"),
            "DISTREN_CONFIG": str(folder / "no-settings.toml"),
            "DISTREN_SERVER": "bench",
        }
        self.server: psutil.Process

    @contextmanager
    def running(self) -> Iterator[BenchFarm]:
        """Broker and server from here to the end of the `with`."""
        for name in [name for name in os.environ if name.startswith("DISTREN_")]:
            del os.environ[name]
        os.environ.update(self._environment)  # for the client in this process
        say("starting a broker and a server")
        self._distren("broker", "start")
        try:
            self._distren("db", "upgrade")
            with self._process("distren-server") as self.server, self.client() as farm:
                self._wait(lambda: bool(farm.describe().server), "the server")
                yield self
        finally:
            self._distren("broker", "stop")

    @contextmanager
    def worker(self, renderer: str, *arguments: str, sandbox: str = "auto") -> Iterator[psutil.Process]:
        """A worker for `renderer`, ready to render, until the end of the `with`; `sandbox` is its setting."""
        command = ("distren-worker", "--renderers", renderer, *arguments)
        with self._process(*command, DISTREN_SANDBOX=sandbox) as process, self.client() as farm:
            self._wait(lambda: farm.describe().renderers.get(renderer, 0) > 0, "the worker")
            yield process

    @contextmanager
    def client(self) -> Iterator[Farm]:
        """A connection to the farm, opened once the server answers."""
        deadline = time.monotonic() + _START_WITHIN
        while True:
            try:
                farm = Farm()
                break
            except DistrenError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        with farm:
            yield farm

    @property
    def broker_url(self) -> str:
        """The amqp:// URL of the private broker, for others that are measured on it."""
        return self._credentials().amqp_url

    @contextmanager
    def empty_vhost(self, name: str) -> Iterator[str]:
        """The amqp:// URL of a virtual host that nobody else uses; it is deleted afterwards."""
        with Management.of(self._credentials()) as management:
            management.create_vhost(name)
            try:
                yield f"{self.broker_url.rstrip('/')}/{name}"
            finally:
                management.delete_vhost(name)

    def _credentials(self) -> Credentials:
        found = credentials.read(self.folder / "farm" / "broker")
        assert found is not None, "the broker has been started"
        return found

    def _distren(self, *arguments: str) -> None:
        subprocess.run(
            [_BIN / "distren", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            check=True,
            timeout=120,
        )

    @contextmanager
    def _process(self, *command: str, **environment: str) -> Iterator[psutil.Process]:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [_BIN / command[0], *command[1:]],
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        """Wait until `ready` says so; an error of DistRen means not yet."""
        deadline = time.monotonic() + _START_WITHIN
        while True:
            try:
                if ready():
                    return
            except DistrenError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} was not ready within {_START_WITHIN:.0f} s: see the logs in {self.folder}")
            time.sleep(0.1)
