"""Applies the faults of a schedule to several sites, the lines between them and the messages on these."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from time import monotonic

from trials.disturber import ALL, Disturber
from trials.farm import worker_name
from trials.peers.meddling import Meddler
from trials.peers.sites import Sites
from trials.proxy import Proxy, Way
from trials.schedule import Fault, Kind


class PeersDisturber(Disturber):
    """As Disturber, for the kinds of trials.peers.schedule."""

    def __init__(
        self, sites: Sites, meddler: Meddler, plan: list[Fault], *, begun: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        super().__init__(next(iter(sites)), plan, begun=begun, say=say)
        self._sites, self._meddler = sites, meddler
        self._lines: defaultdict[frozenset[str], Lock] = defaultdict(Lock)
        """each held while the line is disturbed: the next fault of the same line waits"""

    def _apply(self, fault: Fault) -> None:
        assert fault.site is not None
        if fault.peer is None:
            self._strike_site(fault, fault.site)
            return
        with self._lines[frozenset((fault.site, fault.peer))]:
            if fault.kind in (Kind.CUT_LINE, Kind.HOLE_LINE, Kind.REORDER):
                self._strike_line(fault, fault.site, fault.peer)
            else:
                self._strike_messages(fault, fault.site, fault.peer)

    def _concerned(self, fault: Fault) -> str | None:
        return f"{fault.site}/{worker_name(fault.worker)}" if fault.worker is not None else ALL

    def _strike_site(self, fault: Fault, name: str) -> None:
        site = self._sites[name]
        if fault.kind is Kind.KILL_BROKER:
            with site.busy:
                site.kill_broker()
                site.start_broker()
        else:
            (site.servers[0] if fault.worker is None else site.workers[fault.worker - 1]).kill()

    def _strike_line(self, fault: Fault, source: str, target: str) -> None:
        line = self._sites.shape.line(source, target)
        proxy: Proxy = self._sites.lines[line]
        if fault.kind is Kind.HOLE_LINE:
            ways: tuple[Way, ...] = ("there",) if source == line.adds else ("back",)
            proxy.hole(ways)
        else:
            proxy.cut()
        try:
            self._ending.wait(fault.seconds)
            if fault.kind is Kind.REORDER:
                with self._sites[source].busy:
                    self._meddler.mix(source, target)
        finally:
            proxy.heal(drop=fault.drop)

    def _strike_messages(self, fault: Fault, source: str, target: str) -> None:
        """While both brokers run: none is killed meanwhile."""
        first, second = sorted((source, target))
        with self._sites[first].busy, self._sites[second].busy:
            match fault.kind:
                case Kind.REPLAY:
                    self._meddler.replay(source, target)
                case Kind.DUPLICATE:
                    until = monotonic() + fault.seconds
                    self._meddler.duplicate(
                        source, target, lambda wait: not self._ending.wait(wait) and monotonic() < until
                    )
                case Kind.POISON:
                    self._meddler.poison(source, target)
                case _:
                    self._meddler.delete_queue(source, target)
