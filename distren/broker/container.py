"""A private broker in a container: RabbitMQ's official image with our files, its data in a volume of its own.

Files are copied into the container, not mounted, so that an engine on another host or in a virtual machine works
too. All ports are published on 127.0.0.1 only.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from distren import resources
from distren.broker import credentials, engine, readiness
from distren.broker.credentials import HOST, Credentials
from distren.broker.engine import Engine
from distren.broker.folder import Folder
from distren.broker.management import Management
from distren.broker.private import START_LIMIT, Status
from distren.errors import BrokerUnavailable, Conflict, DistrenError

IMAGE = "rabbitmq:4-management"
IMAGE_VARIABLE = "DISTREN_RABBITMQ_IMAGE"
_PUBLISHED = ("amqp", "management", "prometheus")
_INSIDE = {"amqp": 5672, "management": 15672, "prometheus": 15692}
_STOP_GRACE = 30  # seconds until the engine kills what does not stop
_TIE = 'cat >/dev/null; exec "$0" stop -t "$1" "$2"'
_NODE_CONF = """\
# Written at each start by DistRen; what is common to all private brokers is in 20-distren.conf.
listeners.tcp.1 = 5672
management.tcp.port = 15672
prometheus.tcp.port = 15692
cluster_name = {cluster_name}
log.console = true
"""


class Container:
    """A private broker (see `private.PrivateBroker`) that a container engine runs."""

    def __init__(self, folder: Path, *, cluster_name: str = "distren", container_engine: Engine | None = None) -> None:
        self._files = Folder(folder)
        self.folder = self._files.path
        self._cluster_name = cluster_name
        self._found = container_engine
        self._tie: subprocess.Popen[bytes] | None = None
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        self.name = f"distren-broker-{digest}"
        """of the container and of its volume"""

    def start(self, *, foreground: bool = False) -> Credentials:
        """See PrivateBroker; a container that is running already is a Conflict."""
        run = self._engine.run
        lock = self._files.take_lock()
        try:
            if self._running():
                raise Conflict(f"the private broker in {self.folder} is already running")
            self._untie()
            known = self._files.prepare("container", published=_PUBLISHED)
            self._remove(data=not self._files.made.exists())
            try:
                self._create(known)
                run("start", self.name)
                if foreground:
                    self._hold()
                self.wait_ready()
            except BaseException:
                self.kill()
                raise
            self._files.made.touch()
        finally:
            os.close(lock)
        return known

    def stop(self) -> bool:
        """Stop in good order (6 s: RabbitMQ waits for its own workers); False when it did not run."""
        was_running = self._running()
        if was_running:
            self._engine.run("stop", "-t", str(_STOP_GRACE), self.name)
        self._untie()
        return was_running

    def kill(self) -> None:
        """End the container at once, as a power cut would."""
        self._engine.answers("kill", self.name)
        end = time.monotonic() + _STOP_GRACE
        while self._running() and time.monotonic() < end:
            time.sleep(0.05)
        self._untie()

    def status(self) -> Status:
        """How it is now; asks the broker for its version."""
        known = credentials.read(self.folder)
        state = self._state()
        running = bool(state.get("Running"))
        ready = running and known is not None and readiness.greets(HOST, known.ports.amqp)
        version = None
        if ready and known is not None:
            with suppress(DistrenError), Management.of(known) as management:
                version = management.version()
        return Status(
            running=running,
            ready=ready,
            kind="container",
            pid=int(state["Pid"]) if running else None,
            amqp_url=known.amqp_url if known else None,
            management_url=known.management_url if known else None,
            version=version,
            folder=self.folder,
            log=f"{self._engine.program.name} logs {self.name}",
        )

    def wait_ready(self, limit: float = START_LIMIT) -> Credentials:
        """See PrivateBroker."""
        known = credentials.read(self.folder)
        if known is None:
            raise BrokerUnavailable(f"the private broker in {self.folder} was never started")
        try:
            readiness.wait(known.amqp_url, alive=self._running, limit=limit)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(f"{error}; see '{self._engine.program.name} logs {self.name}'") from error
        return known

    def erase(self) -> None:
        """End the container and delete it, its volume and its folder."""
        self.kill()
        self._remove(data=True)
        self._files.erase()

    @property
    def _engine(self) -> Engine:
        if self._found is None:
            self._found = engine.find()
        if self._found is None:
            raise BrokerUnavailable("no container engine answers: start docker, or install docker or podman")
        return self._found

    def _state(self) -> dict[str, Any]:
        shown = self._engine.answers("container", "inspect", "--format", "{{json .State}}", self.name)
        state: dict[str, Any] = json.loads(shown) if shown else {}
        return state

    def _running(self) -> bool:
        return bool(self._state().get("Running"))

    def _create(self, known: Credentials) -> None:
        """Create the container with its files; it is not started."""
        common, conf = resources.folder("broker"), self._files.conf / "30-node.conf"
        conf.write_text(_NODE_CONF.format(cluster_name=self._cluster_name))
        variables = self._files.home / "environment"
        credentials.write_private(
            variables,
            f"RABBITMQ_NODENAME={known.node}\nRABBITMQ_DEFAULT_USER={known.user}\n"
            f"RABBITMQ_DEFAULT_PASS={known.password}\n"
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none\n",
        )
        published = [f"--publish={HOST}:{getattr(known.ports, name)}:{_INSIDE[name]}" for name in _PUBLISHED]
        self._engine.run(
            "create",
            f"--name={self.name}",
            "--label=org.distren.broker=private",
            f"--env-file={variables}",
            f"--volume={self.name}:/var/lib/rabbitmq",
            *published,
            os.environ.get(IMAGE_VARIABLE) or IMAGE,
        )
        etc = f"{self.name}:/etc/rabbitmq"
        self._engine.run("cp", str(common / "enabled_plugins"), f"{etc}/enabled_plugins")
        self._engine.run("cp", str(common / "rabbitmq.conf"), f"{etc}/conf.d/20-distren.conf")
        self._engine.run("cp", str(conf), f"{etc}/conf.d/30-node.conf")

    def _remove(self, *, data: bool) -> None:
        self._engine.answers("rm", "--force", self.name)
        if data:
            self._engine.answers("volume", "rm", "--force", self.name)

    def _hold(self) -> None:
        """Stop the container when this process ends, however it ends: a shell waits for the end of our pipe."""
        self._tie = subprocess.Popen(
            ["sh", "-c", _TIE, str(self._engine.program), str(_STOP_GRACE), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _untie(self) -> None:
        if self._tie is not None:
            self._tie.communicate()
            self._tie = None
