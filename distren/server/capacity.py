"""What peers may lend us: each is told how many frames our classes would take, whenever that has changed."""

from __future__ import annotations

from collections.abc import Container, Mapping

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain.states import FrameState
from distren.server import dispatch
from distren.server.federation import Federation
from distren.server.state import State
from distren.storage import guests
from distren.storage import jobs as job_rows
from distren.wire.lending import Capacity, Room

LOOK_EVERY = 0.5
"""seconds between looks at our own capacity"""


class CapacityReports:
    """All of it happens in the server's thread."""

    def __init__(self, state: State, federation: Federation, settings: Settings) -> None:
        self._state, self._federation, self._settings = state, federation, settings
        self._told: dict[str, list[Room]] = {}
        self._telling: dict[str, list[Room]] = {}
        self._next_look = 0.0

    def tell_again(self, peer: str) -> None:
        """The peer does not know what it was told before."""
        self._told.pop(peer, None)
        self._next_look = 0.0

    def follow(self, connection: Connection, guest_jobs: Container[int]) -> None:
        """In a turn's transaction; `guest_jobs` are the jobs here that hold frames of peers."""
        self._telling.clear()
        if self._state.steady() >= self._next_look:
            self._next_look = self._state.steady() + LOOK_EVERY
            self._tell(connection, guest_jobs)

    def committed(self) -> None:
        """What `follow` sent is in the database."""
        self._told.update(self._telling)
        self._telling.clear()

    def most(self, connection: Connection, peer: str) -> int | None:
        """How many more frames of this peer we take at most; None: as many as it lends."""
        if peer not in self._settings.borrow_from and self._settings.borrow is None:
            return None
        held = guests.held_by_peer(connection)
        least = self._least(peer, held)
        return None if least is None else max(least - held.get(peer, 0), 0)

    def _least(self, peer: str, held: Mapping[str, int]) -> int | None:
        """How many frames this peer may have here in all, with those of others that are here; None: no limit."""
        others = sum(count for name, count in held.items() if name != peer)
        limits = [self._settings.borrow_from.get(peer)]
        limits.append(None if self._settings.borrow is None else self._settings.borrow - others)
        return min((limit for limit in limits if limit is not None), default=None)

    def _tell(self, connection: Connection, guest_jobs: Container[int]) -> None:
        """Say how many frames each peer may lend us, where that has changed."""
        peers = [one.name for one in self._federation.members() if self._federation.is_up(one.name)]
        for peer in [peer for peer in self._told if peer not in peers]:
            del self._told[peer]
        if not peers:
            return
        free = self._free(connection, guest_jobs)
        held = guests.held_by_peer(connection)
        for peer in peers:
            others = sum(count for name, count in held.items() if name != peer)
            least = self._least(peer, held)
            rooms = [room.model_copy(update={"frames": max(_smaller(room.frames - others, least), 0)}) for room in free]
            if rooms != self._told.get(peer):
                self._federation.send(connection, peer, Capacity(rooms=rooms))
                self._telling[peer] = rooms

    def _free(self, connection: Connection, guest_jobs: Container[int]) -> list[Room]:
        """The room of each class beyond what our own jobs need."""
        steady, fleet = self._state.steady(), self._state.fleet
        classes = fleet.classes(steady)
        own = guests.issued_to_own(connection)
        wanted = [
            (job.pool, set(job.lanes))
            for job in job_rows.in_turn(connection)
            if job.counts[FrameState.READY] and job.id not in guest_jobs
        ]
        rooms = []
        for queue, one in sorted(classes.items()):
            busy = any(pool == one.pool and lanes & set(one.renderers) for pool, lanes in wanted)
            room = 0 if busy else max(dispatch.window(one, fleet.rate(queue, steady)) - own.get(queue, 0), 0)
            rooms.append(Room(queue=queue[:200], pool=one.pool, renderers=dict(one.renderers), frames=room))
        return rooms


def _smaller(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)
