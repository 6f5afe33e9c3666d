"""What lent frames need of their lender: fetched in threads of their own, each blob once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection

from distren.errors import DecodeError, DistrenError, NotFound
from distren.server.federation import Federation
from distren.server.state import State
from distren.storage import guests
from distren.storage.guests import Guest
from distren.wire.fields import Blob
from distren.wire.frames import Render
from distren.wire.jobs import Manifest

log = logging.getLogger(__name__)

_TRY_AGAIN = 5.0
"""seconds before inputs that did not arrive are fetched again"""
_FETCHES = 8

Arrived = tuple[int, list[int], str | None]
"""a guest's job, frames of it whose inputs are here, and why they will never be, where that is so"""


class Provisions:
    """`wake` is called, in a thread of ours, when something has arrived."""

    def __init__(self, state: State, federation: Federation, *, wake: Callable[[], None]) -> None:
        self._state, self._federation, self._wake = state, federation, wake
        self._fetching = ThreadPoolExecutor(_FETCHES, thread_name_prefix="lent inputs")
        self._under_way: set[int] = set()
        self._not_before: dict[int, float] = {}
        self._stocked: set[int] = set()
        self._arrived: deque[Arrived] = deque()
        self._taken = 0

    def stop(self) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)

    def has(self, job: int, render: Render) -> bool:
        """Whether all that a guest's frame needs is known to be here."""
        return job in self._stocked and not (render.needs or render.placed)

    def forget(self, job: int) -> None:
        """The guest is gone."""
        self._stocked.discard(job)

    def arrived(self) -> list[Arrived]:
        """What has arrived, until `committed` is called."""
        arrived = list(self._arrived)
        self._taken = len(arrived)
        return arrived

    def committed(self) -> None:
        """What `arrived` returned is dealt with."""
        for _ in range(self._taken):
            self._arrived.popleft()
        self._taken = 0

    def fetch(self, connection: Connection) -> None:
        """Fetch what is wanted and not under way, in the background."""
        for guest in guests.jobs_arriving(connection):
            due = self._state.steady() >= self._not_before.get(guest.job, 0.0)
            if guest.job not in self._under_way and due:
                self._under_way.add(guest.job)
                self._fetching.submit(self._fetch, guest, guests.arriving(connection, guest.job))

    def _fetch(self, guest: Guest, renders: list[Render]) -> None:
        """Bring what a guest's frames need; runs in a thread of its own."""
        here: list[int] = []
        reason: str | None = None
        try:
            self._bring_seed(guest, renders[0].manifest)
            for render in renders:
                for blob in _needed(render):
                    self._bring(guest.peer, blob)
                here.append(render.frame)
        except (NotFound, DecodeError) as error:
            reason = f"its inputs can not be had: {error}"
        except (DistrenError, OSError) as error:
            log.warning("inputs of lent frames did not arrive, tried again: %s", error, extra={"peer": guest.peer})
            self._not_before[guest.job] = self._state.steady() + _TRY_AGAIN
        lost = [] if reason is None else [render.frame for render in renders if render.frame not in here]
        if here:
            self._arrived.append((guest.job, here, None))
        if lost:
            self._arrived.append((guest.job, lost, reason))
        self._under_way.discard(guest.job)
        self._wake()

    def _bring_seed(self, guest: Guest, manifest: Blob) -> None:
        if guest.job in self._stocked:
            return
        self._bring(guest.peer, manifest)
        for file in Manifest.expect(self._state.store.path(manifest.digest).read_bytes()).files:
            self._bring(guest.peer, Blob(digest=file.digest, size=file.size))
        self._stocked.add(guest.job)

    def _bring(self, peer: str, blob: Blob) -> None:
        if self._state.store.claim(blob.digest) is None:
            self._federation.fetcher(peer).receiver.fetch(blob.value())


def _needed(render: Render) -> Iterable[Blob]:
    for _, _, digest, size in render.needs:
        yield Blob(digest=digest, size=size)
    for _, digest, size in render.placed:
        yield Blob(digest=digest, size=size)
