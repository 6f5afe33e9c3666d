"""A whole farm for a trial: a private broker, a server and workers as services, each behind a proxy of its own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from distren.broker.container import Container
from distren.broker.node import Node
from distren.broker.private import PrivateBroker
from distren.client.farm import Farm
from distren.errors import DistrenError
from distren.storage import schema
from trials.disk import Disk
from trials.proxy import Proxies, Proxy
from trials.supervised import Supervised

RENDERER = Path(__file__).parent / "renderer"
READY_WITHIN = 120.0
"""seconds"""
SERVER = "trial"
STANDBY = "standby"
_MIGRATING = threading.Lock()
"""Alembic has one context for the whole process, and several farms may start in it"""
_WORKER_DISK = 24 * 2**20
_SERVER_DISK = 96 * 2**20
_SERVER_DISK_PER_FRAME = 40_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a farm is; `prefix` is put before the command of the server or of the workers (a launcher).

    `standby`: two processes run for the server. `server` is its name, and `mark` stands before the names of the
    workers in the render log.
    """

    workers: int = 8
    slots: int = 1
    frames: int = 1_000
    disks: bool = False
    standby: bool = False
    container: bool = False
    server_prefix: Sequence[str] = ()
    worker_prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    server: str = SERVER
    mark: str = ""


class TrialFarm:
    """Use it in `running`. `servers` and `workers` are services; `workers[0]` is worker 1."""

    def __init__(self, folder: Path, size: Size, *, broker_url: str | None = None) -> None:
        """`broker_url`: a broker that is there already, for a trial that leaves it in peace."""
        self.folder, self.size = folder, size
        self.render_log = folder / "render.log"
        self.broker: PrivateBroker = (Container if size.container else Node)(folder / "broker")
        self.proxies: dict[str, Proxy] = {}
        self.disks: dict[str, Disk] = {}
        self.servers: list[Supervised] = []
        self.workers: list[Supervised] = []
        self.boot = 0.0
        """seconds that the whole farm took to start: how slow this machine is now"""
        self._url = broker_url or ""

    @contextmanager
    def running(self) -> Iterator[TrialFarm]:
        """The farm from here to the end of the `with`; everything that it started ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.render_log.touch()
        began = time.monotonic()
        with ExitStack() as stack:
            if not self._url:
                stack.callback(self.broker.erase)
                self._url = self.broker.start(foreground=True).amqp_url
            self._open_proxies(stack)
            self._make_disks(stack)
            self._start(stack)
            self.wait_ready()
            self.boot = time.monotonic() - began
            yield self

    @property
    def services(self) -> list[Supervised]:
        return [*self.servers, *self.workers]

    def client(self, *, direct: bool = False) -> Farm:
        """A connection to the farm, through the client's proxy unless `direct`. Raises DistrenError."""
        return Farm(broker=self._url if direct else self.url("client"), data=self.folder / "client")

    @property
    def direct_url(self) -> str:
        """The broker without a proxy."""
        return self._url

    def url(self, name: str) -> str:
        """The broker as the process `name` sees it."""
        head, _, tail = self._url.rpartition("@")
        _, _, path = tail.partition("/")
        return f"{head}@127.0.0.1:{self.proxies[name].port}/{path}"

    def wait_ready(self, workers: int | None = None) -> None:
        """Wait until the server answers and all workers are at work."""
        wanted = len(self.workers) if workers is None else workers

        def ready() -> bool:
            with suppress(DistrenError), self.client(direct=True) as farm:
                farm.describe(timeout=5.0)
                return sum(one.state == "working" for one in farm.workers()) >= wanted
            return False

        wait_for(ready, READY_WITHIN, f"the farm in {self.folder}")

    # -- faults of the broker ----------------------------------------------------------------------------------------

    def kill_broker(self) -> None:
        self.broker.kill()

    def delete_broker_data(self) -> None:
        """Everything that the killed broker knew: a private broker without this mark starts from nothing."""
        (self.folder / "broker" / "made").unlink()

    def start_broker(self) -> None:
        self.broker.start(foreground=True)

    def signal_broker(self, number: signal.Signals) -> None:
        """To every process of the node."""
        leader = self.broker.status().pid
        assert leader is not None, "the broker runs"
        with suppress(psutil.Error):
            for process in [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]:
                with suppress(psutil.Error):
                    process.send_signal(number)

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _open_proxies(self, stack: ExitStack) -> None:
        proxies, port = Proxies(), urlsplit(self._url).port
        assert port is not None, f"{self._url} names a port"
        stack.callback(proxies.close)
        names = [*self._server_names(), "client", *(worker_name(number) for number in range(1, self.size.workers + 1))]
        self.proxies = {name: proxies.open(port) for name in names}

    def _make_disks(self, stack: ExitStack) -> None:
        if self.size.disks:
            sizes = {
                "server": _SERVER_DISK + self.size.frames * _SERVER_DISK_PER_FRAME,
                worker_name(1): _WORKER_DISK,
            }
            for name, size in sizes.items():
                self.disks[name] = Disk(self.folder / name, size)
                stack.callback(self.disks[name].close)

    def _start(self, stack: ExitStack) -> None:
        with _MIGRATING:
            schema.upgrade(f"sqlite:///{self.folder / 'server' / 'server' / 'distren.db'}")
        for name in self._server_names():
            flags = ["--server", self.size.server]
            self.servers.append(self._service(name, "server", *flags, prefix=self.size.server_prefix))
        for number in range(1, self.size.workers + 1):
            name = worker_name(number)
            flags = ["--slots", str(self.size.slots), "--name", name, "--renderers", "trial"]
            self.workers.append(self._service(name, "worker", *flags, prefix=self.size.worker_prefix))
        stack.callback(self._close)
        for service in self.services:
            service.start()

    def _server_names(self) -> list[str]:
        return ["server", STANDBY] if self.size.standby else ["server"]

    def _close(self) -> None:
        """End all services at once: one by one each would take its time."""
        threads = [threading.Thread(target=one.close) for one in self.services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _service(self, name: str, program: str, *flags: str, prefix: Sequence[str]) -> Supervised:
        command = [*prefix, f"distren-{program}"] if prefix else [sys.executable, "-m", f"distren.cli.{program}"]
        return Supervised(
            name, [*command, *flags], environment=self._environment(name), log=self.folder / f"{name}.log"
        )

    def _environment(self, name: str) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DISTREN_")}
        return {
            **clean,
            "DISTREN_BROKER": self.url(name),
            "DISTREN_DATA": str(self.folder / ("server" if name == STANDBY else name)),
            "DISTREN_CONFIG": str(self.folder / "no-settings.toml"),
            "DISTREN_SANDBOX": "off",  # the program writes to the render log; nothing outlives a worker all the same
            "DISTREN_FREE_SPACE": "1MB",  # the disks of a trial are small
            "PYTHONPATH": str(RENDERER),
            "TRIAL_LOG": str(self.render_log),
            "TRIAL_WORKER": f"{self.size.mark}{name}",
            **self.size.environment,
        }


def worker_name(number: int) -> str:
    return f"worker-{number}"


def wait_for(condition: Callable[[], bool], limit: float, what: str) -> None:
    """Look again and again until `condition` holds. Raises TimeoutError."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come to be within {limit:.0f} s")
        time.sleep(0.1)
