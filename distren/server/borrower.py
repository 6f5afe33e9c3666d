"""The server as a borrower: it renders frames that peers have lent it, below its own jobs, and brings results home.

Lent frames stand in jobs of their own here (storage/guests.py) and are dispatched as all others. What the lender is to
be told follows from the database in every turn.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain.states import FRAME_ENDED, ISSUED, JOB_ENDED, JobState
from distren.federation.receiver import After
from distren.server.capacity import CapacityReports
from distren.server.changes import Changed
from distren.server.federation import Federation
from distren.server.homeward import Homeward
from distren.server.lifecycle import Lifecycle
from distren.server.provisions import Provisions
from distren.server.state import State
from distren.storage import frames as frame_rows
from distren.storage import guests
from distren.storage import jobs as job_rows
from distren.storage.guests import Guest
from distren.wire.frames import Progress, Render, Stop
from distren.wire.lending import (
    CapacityWanted,
    Check,
    Lend,
    LentJob,
    Recall,
)

log = logging.getLogger(__name__)

GIVE_BACK_AFTER = 30.0
"""seconds that a lent frame may stand here ready, because our own frames or nobody takes the slots"""


class Borrower:
    """Renders for peers; everything but fetching happens in the server's thread. `note` takes what handlers change."""

    def __init__(
        self, state: State, federation: Federation, settings: Settings, *, note: Callable[[Changed], None]
    ) -> None:
        self._state, self._federation, self._note = state, federation, note
        with state.engine.begin() as connection:
            self.guests: dict[int, Guest] = {guest.job: guest for guest in guests.every(connection)}
        self._provisions = Provisions(state, federation, wake=self._arrived)
        self._capacity = CapacityReports(state, federation, settings)
        self._homeward = Homeward(state, federation)
        self._ready_since: dict[tuple[int, int], float] = {}
        self._forgotten: dict[int, After] = {}
        """what is to be done once it is committed that these jobs, of servers that are no peers any more, are gone"""
        federation.on(CapacityWanted, self._hear_wanted)
        federation.on(Lend, self._hear_lend)
        federation.on(Recall, self._hear_recall)
        federation.on(LentJob, self._hear_job)
        federation.on(Check, self._hear_check)

    def stop(self) -> None:
        self._provisions.stop()

    def _arrived(self) -> None:
        """In a thread of the provisions."""
        self._note(Changed())
        self._federation.wake()

    # -- what lenders say --------------------------------------------------------------------------------------------

    def _hear_wanted(self, connection: Connection, peer: str, message: CapacityWanted) -> After:
        def take() -> None:
            self._capacity.tell_again(peer)
            self._note(Changed())

        return take

    def _hear_lend(self, connection: Connection, peer: str, message: Lend) -> After | None:
        message = self._refuse_some(connection, peer, message)
        if not message.frames:
            return None
        entered: dict[int, Guest] = {}
        at_once: defaultdict[int, list[int]] = defaultdict(list)
        for render in message.frames:
            guest = guests.enter(connection, peer, message, render, self._state.now())
            entered[guest.job] = guest
            guests.take(connection, guest, render, arriving=True)
            if self._provisions.has(guest.job, render):
                at_once[guest.job].append(render.frame)
        changed = [self._admit(connection, entered[job], frames) for job, frames in at_once.items()]

        def take() -> None:
            self.guests.update(entered)
            for each in changed or [Changed()]:
                self._note(each)

        return take

    def _refuse_some(self, connection: Connection, peer: str, message: Lend) -> Lend:
        """Give back what is beyond what we take of this peer, or all of a job that was called off here; the rest."""
        most, reason = self._capacity.most(connection, peer), "it takes no more frames of this server now"
        if any(self._is_called_off(connection, guest) for guest in guests.of_job(connection, peer, message.job)):
            most, reason = 0, "the job was called off here"
        if most is None or most >= len(message.frames):
            return message
        back = [(message.job, one.frame, one.issue) for one in message.frames[most:]]
        self._homeward.give_back(connection, peer, back, reason)
        return message.model_copy(update={"frames": message.frames[:most]})

    def _is_called_off(self, connection: Connection, guest: Guest) -> bool:
        record = job_rows.by_id(connection, guest.job)
        return record is not None and (record.state is JobState.CANCELLED or record.deleted)

    def _hear_recall(self, connection: Connection, peer: str, message: Recall) -> After:
        held: defaultdict[int, list[int]] = defaultdict(list)
        for job, frame, issue in message.frames:
            found = guests.find(connection, peer, job, frame)
            if found is not None and found.issue <= issue:
                held[found.guest.job].append(frame)
        return self._end(connection, held)

    def _hear_job(self, connection: Connection, peer: str, message: LentJob) -> After | None:
        known = guests.of_job(connection, peer, message.job)
        if not message.ended:
            for guest in known:
                job_rows.set_priority(connection, guest.job, min(message.priority, 100))
            return None
        ended = self._end(connection, {guest.job: guests.open_frames(connection, guest.job) for guest in known})
        for guest in known:
            guests.forget(connection, guest.job)

        def take() -> None:
            ended()
            for guest in known:
                self.guests.pop(guest.job, None)
                self._provisions.forget(guest.job)

        return take

    def _end(self, connection: Connection, held: dict[int, list[int]]) -> After:
        """Nobody wants these frames any more."""
        orders: list[Stop] = []
        changes: list[Changed] = []
        for job, ids in held.items():
            stored = frame_rows.load(connection, [(job, number) for number in ids])
            lifecycle = Lifecycle(connection, self._state.now())
            if any(one.frame.state not in FRAME_ENDED for one in stored.values()):
                lifecycle.cancel(job, [range(number, number + 1) for number in ids])
            changes.append(lifecycle.save())
            for number in ids:
                guests.brought_back(connection, job, number)
            out = [one.frame.id for one in stored.values() if one.frame.state in ISSUED]
            if out:
                orders.append(Stop(job=job, frames=out))

        def take() -> None:
            for order in orders:
                self._state.rearrange(order)
            for changed in changes:
                self._note(changed)

        return take

    def _hear_check(self, connection: Connection, peer: str, message: Check) -> None:
        missing = []
        for job, frame, issue in message.frames:
            found = guests.find(connection, peer, job, frame)
            if found is None or found.issue < issue:
                missing.append((job, frame, issue))
        if missing:
            self._homeward.give_back(connection, peer, missing, "it does not have it")

    # -- in the turn's transaction -----------------------------------------------------------------------------------

    def hear(self, events: Iterable[object]) -> None:
        """What workers say in this turn."""
        self._homeward.hear(events)

    def progressed(self, event: Progress) -> None:
        """A worker says how far a frame is, which may be a peer's."""
        if (guest := self.guests.get(event.job)) is not None:
            self._homeward.progressed(guest, event)

    def describe(self, connection: Connection, job: int, ids: Iterable[int]) -> dict[int, Render]:
        """What our workers need to know to render these lent frames; `issue` is still the lender's."""
        guest = self.guests[job]
        found = guests.renders(connection, job, list(ids))
        return {number: _ours(render, guest) for number, render in found.items()}

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Take in inputs that have arrived; tell lenders what has become of their frames, and what we would take."""
        self._forgotten.clear()
        changed = self._take_arrived(connection)
        if self.guests:
            if tick:
                changed += self._give_back_waiting(connection)
                self._forget_strangers(connection)
            self._homeward.follow(connection)
            self._provisions.fetch(connection)
        self._capacity.follow(connection, self.guests)
        return changed

    def committed(self) -> None:
        """What `follow` changed is in the database."""
        for job, take in self._forgotten.items():
            del self.guests[job]
            take()
        self._forgotten.clear()
        self._capacity.committed()
        self._provisions.committed()

    def _admit(self, connection: Connection, guest: Guest, ids: list[int]) -> Changed:
        """Frames whose inputs are here may be rendered."""
        ids = guests.arrived(connection, guest.job, ids)
        known = frame_rows.load(connection, [(guest.job, number) for number in ids])
        guests.add_frames(connection, guest.job, [number for number in ids if (guest.job, number) not in known])
        again = [number for (_, number), one in known.items() if one.frame.state in FRAME_ENDED]
        lifecycle = Lifecycle(connection, self._state.now())
        if again:
            lifecycle.retry(guest.job, [range(number, number + 1) for number in again])
        elif ids and lifecycle.job(guest.job).state in JOB_ENDED:
            lifecycle.resume(guest.job)
        return lifecycle.save()

    def _give_back_waiting(self, connection: Connection) -> list[Changed]:
        """Give back what has waited here for too long."""
        steady = self._state.steady()
        waiting = {(one.guest.job, one.frame): one for one in guests.waiting(connection)}
        self._ready_since = {key: self._ready_since.get(key, steady) for key in waiting}
        late = [key for key, since in self._ready_since.items() if steady - since > GIVE_BACK_AFTER]
        if not late:
            return []
        lifecycle = Lifecycle(connection, self._state.now())
        homeward: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for job in {job for job, _ in late}:
            lifecycle.cancel(job, [range(frame, frame + 1) for of_job, frame in late if of_job == job])
        for key in late:
            one = waiting[key]
            guests.brought_back(connection, *key)
            homeward[one.guest.peer].append((one.guest.of_job, one.frame, one.issue))
        for peer, frames in homeward.items():
            self._homeward.give_back(connection, peer, frames, "no slot is free for it there")
        return [lifecycle.save()]

    def _forget_strangers(self, connection: Connection) -> None:
        """Frames of servers that are no peers any more are ended and forgotten, by us once that is committed."""
        members = {member.name for member in self._federation.members()}
        strangers = [guest for guest in self.guests.values() if guest.peer not in members]
        for guest in strangers:
            self._forgotten[guest.job] = self._end(connection, {guest.job: guests.open_frames(connection, guest.job)})
            guests.forget(connection, guest.job)

    def _take_arrived(self, connection: Connection) -> list[Changed]:
        changed = []
        for job, ids, reason in self._provisions.arrived():
            guest = self.guests.get(job)
            if guest is None:
                continue
            if reason is None:
                changed.append(self._admit(connection, guest, ids))
                continue
            frames = []
            for number in ids:
                found = guests.find(connection, guest.peer, guest.of_job, number)
                guests.brought_back(connection, job, number)
                if found is not None:
                    frames.append((guest.of_job, number, found.issue))
            self._homeward.give_back(connection, guest.peer, frames, reason)
        return changed


def _ours(render: Render, guest: Guest) -> Render:
    """A lent frame as our workers are told of it: needed results are laid where the lender's job expects them."""
    placed = [
        (f"frame/{frame}" if job == guest.of_job else f"{job}/frame/{frame}", digest, size)
        for job, frame, digest, size in render.needs
    ]
    return render.model_copy(update={"job": guest.job, "needs": [], "placed": [*placed, *render.placed]})
