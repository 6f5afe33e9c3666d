"""Lending and borrowing together, as the turns of the server see them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain.needs import Needs
from distren.server import views
from distren.server.borrower import Borrower
from distren.server.changes import Changed
from distren.server.dispatch import Owing
from distren.server.far import FarNeeds
from distren.server.federation import Federation
from distren.server.lender import Lender
from distren.server.lifecycle import Lifecycle
from distren.server.moves import Moves
from distren.server.state import State
from distren.server.takeover import TakeOvers
from distren.storage.jobs import Job
from distren.wire.frames import Progress, Render


class Lending:
    """Frames that are ours and frames that are here, among peers. To be made before the federation starts."""

    def __init__(
        self,
        state: State,
        federation: Federation,
        settings: Settings,
        *,
        note: Callable[[Changed], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        """`note` takes what peers have changed, `on_progress` what they say of frames that they render for us."""
        self._state, self._federation = state, federation
        self._lender = Lender(state, federation, settings, note=note, on_progress=on_progress)
        self._borrower = Borrower(state, federation, settings, note=note)
        self.moves = Moves(state, federation, note=note)
        self.far = FarNeeds(state, federation, settings, self.moves, note=note, fetch=self._lender.fetch_soon)
        TakeOvers(state, federation, note=note)
        self._alone = self._getting_alone = False
        """there are no peers, and nothing is left of any that there were"""

    def stop(self) -> None:
        self._lender.stop()
        self._borrower.stop()
        self.moves.stop()

    @property
    def room(self) -> dict[str, int]:
        """How many frames peers take, by what stands for their queues."""
        return {queue: offer.room for queue, offer in self._state.fleet.offers.items()}

    @property
    def guests(self) -> Collection[int]:
        """The jobs here that hold frames of peers."""
        return self._borrower.guests

    def is_willing(self, connection: Connection, queue: str, job: Job, renderer: str) -> bool:
        """Whether frames of the job may be lent to the peer behind `queue`; what was lent to us is not lent on."""
        return job.id not in self.guests and self._lender.is_willing(connection, queue, job, renderer)

    def describe(self, connection: Connection, job: int, ids: Iterable[int]) -> Mapping[int, Render]:
        """What our workers need to know to render a peer's frames."""
        return self._borrower.describe(connection, job, ids)

    def hear(self, events: Iterable[object]) -> None:
        """What workers say in this turn, before `follow`."""
        self._borrower.hear(events)

    def progressed(self, event: Progress) -> None:
        """A worker says how far a frame is."""
        self._borrower.progressed(event)

    def withdraw(self, connection: Connection, lifecycle: Lifecycle, *, everything: bool, tick: bool) -> None:
        """Take back from peers what stands wrongly with them."""
        self._alone = self._alone and not self._federation.members()
        if not self._alone:
            self._lender.withdraw(connection, lifecycle, everything=everything, tick=tick)

    def lend(self, connection: Connection, owing: list[Owing]) -> list[Owing]:
        """Send what was issued to peers; returns what is for our own broker."""
        return self._lender.lend(connection, owing)

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Tell peers what follows for them from a turn's changes; returns what has changed here because of them."""
        if self._alone:
            return []
        self._getting_alone = tick and not self._federation.members()
        changed = [*self._lender.follow(connection, tick=tick), *self._borrower.follow(connection, tick=tick)]
        changed += self.moves.follow(connection, tick=tick)
        return changed + self.far.follow(connection, tick=tick)

    def resolve(self, connection: Connection, rules: Iterable[Needs]) -> tuple[Needs, ...]:
        """The needs of a new job, with jobs of ours in place of those of peers; raises JobFileError for no peer."""
        return self.far.resolve(connection, rules)

    def trouble(self, peer: str) -> str:
        """Why nothing comes from a server now; empty where it is up."""
        if self._federation.is_up(peer):
            return ""
        if peer not in {member.name for member in self._federation.members()}:
            return f"'{peer}' is no peer any more"
        since = self._federation.silent_since(peer)
        return f"'{peer}' is down" + ("" if since is None else f" since {views.clock(since)}")

    def committed(self) -> None:
        """The turn's transaction is committed."""
        self._alone = self._alone or self._getting_alone
        self._lender.committed()
        self._borrower.committed()
        self.far.committed()
        self.moves.committed()
