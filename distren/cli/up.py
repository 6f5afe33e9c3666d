"""`distren up` and `distren down`: the whole farm on one machine, in one foreground process tree."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any

import click

from distren.cli import database, human, instance
from distren.cli.context import Cli, json_option, pass_cli, warn
from distren.cli.farmbroker import FarmBroker
from distren.cli.supervisor import Child, Program
from distren.cli.worker_options import worker_options
from distren.client.farm import Farm
from distren.config import Settings
from distren.errors import BrokerUnavailable, NoAnswer
from distren.worker import identity

READY_WITHIN = 60.0
"""seconds for a server or worker to be ready: a loaded machine starts Python in a few"""
_ASK_EVERY = 0.1
GIVE_BACK_WITHIN, END_WITHIN = 20.0, 20.0
"""seconds that a worker may take to give its frames back, and a server to end, before they are killed"""
DOWN_WITHIN = 120.0
_LOOK_EVERY = 0.5


@click.command(short_help="Start a farm on this machine.")
@worker_options
@json_option
@pass_cli
def up(cli: Cli, /, **worker: Any) -> None:
    """Start a farm on this machine: private broker, database, server and a worker.

    Ctrl-C ends it: the first finishes the frames in hand, the second gives them back. 'distren down' from another
    terminal ends it at once.
    """
    settings = cli.settings()
    with instance.claimed(settings.data):
        Up(cli, settings, worker).run()


@click.command(short_help="End the farm that 'up' runs here.")
@json_option
@pass_cli
def down(cli: Cli) -> None:
    """End the farm that 'distren up' runs, and wait until all of it has ended."""
    settings = cli.settings()
    pid = instance.end(settings.data, limit=DOWN_WITHIN)
    cli.show({"ended": pid}, lambda: f"ended (it was process {pid})")


class Up:
    """One run of `distren up`. Signals become entries of a queue; everything happens in the main thread."""

    def __init__(self, cli: Cli, settings: Settings, worker: dict[str, Any]) -> None:
        self._cli, self._settings, self._worker_options = cli, settings, worker
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._interrupts = 0
        self._ending = False
        self._broker = FarmBroker(settings)
        self._server_name = ""
        self._server: Child | None = None
        self._worker: Child | None = None

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.put(number))
        try:
            if self._start():
                self._serve()
        finally:
            self._end()
            self._cli.say("all has ended")

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start everything, one after the other; False where somebody asked to end meanwhile."""
        self._step("data", str(self._settings.data))
        if self._broker.is_private:
            self._step("broker", "starting, which takes a few seconds ...")
        self._broker.start()
        if self._wanted():
            return False
        self._step("broker", self._broker.shown)
        revision = database.upgraded(self._settings)
        self._step("database", f"schema {revision}")
        self._server = self._child("server", [])
        self._server.start()
        with self._ready_farm(self._server) as farm:
            if self._ending:
                return False
            self._server_name = farm.server
            self._step("server", self._server_name)
            self._worker = self._child("worker", self._worker_flags())
            self._worker.start()
            worker = self._await_worker(farm)
        if worker is not None:
            self._greet(worker)
        return worker is not None

    def _child(self, name: str, flags: list[str]) -> Child:
        settings = self._settings
        environment = {**os.environ, "DISTREN_BROKER": self._broker.url, "DISTREN_DATA": str(settings.data)}
        if "server" in settings.model_fields_set:
            environment["DISTREN_SERVER"] = settings.server
        return Child(
            Program(
                name=name,
                argv=[sys.executable, "-m", f"distren.cli.{name}", *flags],
                environment=environment,
                log=settings.data / "logs" / f"{name}.log",
            )
        )

    def _worker_flags(self) -> list[str]:
        given = {name: value for name, value in self._worker_options.items() if value is not None}
        return [part for name, value in given.items() for part in (f"--{name}", str(value))]

    def _ready_farm(self, server: Child) -> Farm:
        """A connection to the server, once it answers or somebody wants an end."""
        farm, answered = Farm(broker=self._broker.url, data=self._settings.data), threading.Event()

        def ask() -> None:
            while not answered.wait(_ASK_EVERY):
                with contextlib.suppress(NoAnswer, BrokerUnavailable):  # its queue is not there before its first start
                    farm.describe(READY_WITHIN)
                    answered.set()

        threading.Thread(target=ask, name="is the server ready", daemon=True).start()
        deadline = time.monotonic() + READY_WITHIN
        try:
            while not answered.is_set() and not self._wanted(_ASK_EVERY):
                server.raise_if_ended()
                if time.monotonic() > deadline:
                    raise NoAnswer(f"the server is not ready after {READY_WITHIN:.0f} s: see {server.program.log}")
        except BaseException:
            farm.close()
            raise
        return farm

    def _await_worker(self, farm: Farm) -> str | None:
        """The worker's name once it has reported; None where somebody asked to end meanwhile."""
        deadline, started = time.monotonic() + READY_WITHIN, time.time()
        while not self._wanted():
            assert self._worker is not None
            self._worker.raise_if_ended()
            for one in farm.workers():
                if one.host == identity.host() and one.state == "working" and one.seen >= started:
                    skills = ", ".join(f"{name} {version}" for name, version in sorted(one.renderers.items()))
                    self._step("worker", f"{one.worker}: {self._slots(one.slots)}; {skills}")
                    return one.worker
            if time.monotonic() > deadline:
                raise NoAnswer(
                    f"the worker has not reported within {READY_WITHIN:.0f} s: see {self._worker.program.log}"
                )
            time.sleep(_ASK_EVERY)
        return None

    def _slots(self, slots: int) -> str:
        more = " or more, as the machine allows" if self._worker_options["slots"] == "auto" else ""
        return human.plural(slots, "slot") + more

    def _greet(self, worker: str) -> None:
        if self._cli.json:
            record = {
                "pid": os.getpid(),
                "server": self._server_name,
                "worker": worker,
                "broker": self._broker.shown,
                "management": self._broker.management,
                "login": self._broker.login,
            }
            click.echo(json.dumps(record))
            return
        if self._broker.management:
            self._step("management", f"{self._broker.management}  ({self._broker.login})")
        self._step("logs", str(self._settings.data / "logs"))
        data = "data" in self._settings.model_fields_set and "DISTREN_DATA" not in os.environ
        where = f" --data {self._settings.data}" if data else ""
        self._cli.say(f"\nready; try   distren{where} submit SCENE.pov --frames 1-24 --output frames/")
        self._cli.say("Ctrl-C ends the farm when the frames in hand are done; a second Ctrl-C gives them back\n")

    # -- running -----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._wanted(_LOOK_EVERY):
            now = time.monotonic()
            for child in (self._server, self._worker):
                if child is not None and (news := child.check(now)):
                    warn(news)
            if news := self._broker.check(now):
                warn(news)

    def _wanted(self, wait: float = 0.0) -> bool:
        """Whether somebody wants an end; looks for signals for `wait` seconds."""
        try:
            number = self._signals.get(timeout=wait) if wait else self._signals.get_nowait()
        except Empty:
            return self._ending
        if number == signal.SIGINT:
            self._interrupts += 1
        elif number in (signal.SIGTERM, signal.SIGHUP):
            self._interrupts += 2
        self._ending = self._interrupts > 0
        return self._ending

    # -- ending ------------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """End worker, server and broker, in this order, so that each still finds what it needs."""
        if self._worker is not None and self._worker.pid is not None:
            self._end_worker(self._worker)
        if self._server is not None and self._server.pid is not None:
            self._step("server", "ending")
            self._server.send(signal.SIGTERM)
            self._await_end(self._server, END_WITHIN)
        if self._broker.is_private:
            self._step("broker", "ending")
        self._broker.stop()

    def _end_worker(self, worker: Child) -> None:
        if self._interrupts == 1:
            self._step("worker", "finishing the frames in hand (Ctrl-C again gives them back)")
            worker.send(signal.SIGINT)
            while worker.pid is not None and self._interrupts < 2:
                self._wanted(_LOOK_EVERY)
        if worker.pid is not None:
            self._step("worker", "giving its frames back")
            worker.send(signal.SIGTERM)
            self._await_end(worker, GIVE_BACK_WITHIN)

    def _await_end(self, child: Child, limit: float) -> None:
        deadline = time.monotonic() + limit
        while child.pid is not None:
            self._wanted(0.1)
            if time.monotonic() > deadline:
                warn(f"the {child.program.name} did not end within {limit:.0f} s and is killed")
                child.kill()

    def _step(self, what: str, text: str) -> None:
        self._cli.say(f"{what:<11} {text}")
