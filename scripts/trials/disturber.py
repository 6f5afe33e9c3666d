"""Applies the faults of a schedule to a farm, each at its point, and writes down when it began and ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from trials.farm import TrialFarm, worker_name
from trials.schedule import Fault, Kind
from trials.supervised import Supervised

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Struck:
    """A fault as it happened, in seconds since 1970. `worker`: whose frames were in its way; ALL or None: everybody's,
    nobody's.
    """

    fault: Fault
    began: float
    ended: float
    worker: str | None

    @property
    def is_kill(self) -> bool:
        return self.fault.kind in (Kind.KILL_WORKER, Kind.KILL_SERVER, Kind.KILL_BROKER, Kind.DELETE_BROKER)


class Disturber(threading.Thread):
    """Lets every fault of `plan` strike, each in a thread of its own; `failure` says what went wrong in the harness."""

    def __init__(
        self, farm: TrialFarm, plan: list[Fault], *, begun: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        super().__init__(name="disturber", daemon=True)
        self.struck: list[Struck] = []
        self.failure: BaseException | None = None
        self._farm, self._plan, self._begun, self._say = farm, plan, begun, say
        self._broker = threading.Lock()
        """held while the broker is being killed, stopped or started: one thing at a time"""
        self._ending = threading.Event()

    def end(self) -> None:
        """Start no other fault."""
        self._ending.set()

    def run(self) -> None:
        strikes = []
        for fault in self._plan:
            while self._begun() < fault.at and not self._ending.wait(0.05):
                pass
            if self._ending.is_set():
                break
            strikes.append(threading.Thread(target=self._strike, args=(fault,), name=str(fault), daemon=True))
            strikes[-1].start()
        for thread in strikes:
            thread.join()

    def _strike(self, fault: Fault) -> None:
        if self._ending.wait(fault.delay):
            return
        self._say(f"fault {fault.number:3} of {len(self._plan)} at {self._begun():5} begun: {fault}")
        began = time.time()
        try:
            self._apply(fault)
        except BaseException as error:
            self.failure = error
        self.struck.append(Struck(fault=fault, began=began, ended=time.time(), worker=self._concerned(fault)))

    def _apply(self, fault: Fault) -> None:
        _APPLY[fault.kind](self, fault)

    def _concerned(self, fault: Fault) -> str | None:
        if fault.worker is not None:
            return worker_name(fault.worker)
        return ALL if fault.kind in (Kind.KILL_BROKER, Kind.STOP_BROKER, Kind.DELETE_BROKER) else None

    def _service(self, fault: Fault) -> Supervised:
        """What a fault strikes: of two processes of a server each is struck by every other fault of servers."""
        if fault.worker is not None:
            return self._farm.workers[fault.worker - 1]
        return self._farm.servers[fault.number % len(self._farm.servers)]

    def _whom(self, fault: Fault) -> str:
        return _whose(fault) if fault.kind is Kind.CUT_CLIENT else self._service(fault).name

    # -- one method for each manner of fault -------------------------------------------------------------------------

    def _kill(self, fault: Fault) -> None:
        self._service(fault).kill()

    def _pause(self, fault: Fault) -> None:
        service = self._service(fault)
        service.signal(signal.SIGSTOP)
        try:
            self._ending.wait(fault.seconds)
        finally:
            service.signal(signal.SIGCONT)

    def _pause_broker(self, fault: Fault) -> None:
        with self._broker:
            self._farm.signal_broker(signal.SIGSTOP)
            try:
                self._ending.wait(fault.seconds)
            finally:
                self._farm.signal_broker(signal.SIGCONT)

    def _restart_broker(self, fault: Fault) -> None:
        with self._broker:
            self._farm.kill_broker()
            if fault.kind is Kind.DELETE_BROKER:
                self._farm.delete_broker_data()
            self._farm.start_broker()

    def _cut(self, fault: Fault) -> None:
        proxy = self._farm.proxies[self._whom(fault)]
        proxy.cut()
        self._ending.wait(fault.seconds)
        proxy.heal()

    def _hole(self, fault: Fault) -> None:
        proxy = self._farm.proxies[self._whom(fault)]
        proxy.hole()
        self._ending.wait(fault.seconds)
        proxy.heal(drop=fault.drop)

    def _fill(self, fault: Fault) -> None:
        disk = self._farm.disks[_whose(fault)]
        with ExitStack() as stack:
            stack.callback(disk.free)
            disk.fill()
            self._ending.wait(fault.seconds)


_APPLY: dict[Kind, Callable[[Disturber, Fault], None]] = {
    Kind.KILL_WORKER: Disturber._kill,
    Kind.KILL_SERVER: Disturber._kill,
    Kind.KILL_BROKER: Disturber._restart_broker,
    Kind.STOP_WORKER: Disturber._pause,
    Kind.STOP_SERVER: Disturber._pause,
    Kind.STOP_BROKER: Disturber._pause_broker,
    Kind.CUT_WORKER: Disturber._cut,
    Kind.CUT_SERVER: Disturber._cut,
    Kind.CUT_CLIENT: Disturber._cut,
    Kind.HOLE_WORKER: Disturber._hole,
    Kind.HOLE_SERVER: Disturber._hole,
    Kind.FILL_WORKER: Disturber._fill,
    Kind.FILL_SERVER: Disturber._fill,
    Kind.DELETE_BROKER: Disturber._restart_broker,
}


def _whose(fault: Fault) -> str:
    if fault.worker is not None:
        return worker_name(fault.worker)
    return "client" if fault.kind is Kind.CUT_CLIENT else "server"
