"""The server as a borrower: it renders frames that peers have lent it, below its own jobs, and brings results home.

Lent frames stand in jobs of their own here (storage/guests.py) and are dispatched as all others. What the lender is to
be told follows from the database in every turn.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain.states import FRAME_ENDED, ISSUED, JOB_ENDED, AttemptState, FrameState, JobState
from distren.errors import DecodeError, DistrenError, NotFound
from distren.federation.receiver import After
from distren.server import dispatch
from distren.server.changes import Changed
from distren.server.federation import Federation
from distren.server.lifecycle import Lifecycle
from distren.server.state import State
from distren.storage import attempts as attempt_rows
from distren.storage import frames as frame_rows
from distren.storage import guests
from distren.storage import jobs as job_rows
from distren.storage.attempts import AttemptRecord
from distren.storage.guests import Guest, News
from distren.wire.fields import Blob
from distren.wire.frames import INLINE, Completed, Failed, Render, Started
from distren.wire.jobs import Change, Manifest
from distren.wire.lending import (
    Capacity,
    CapacityWanted,
    Check,
    GivenBack,
    Lend,
    LentEvents,
    LentJob,
    Recall,
    Room,
)

log = logging.getLogger(__name__)

GIVE_BACK_AFTER = 30.0
"""seconds that a lent frame may stand here ready, because our own frames or nobody takes the slots"""
LOOK_EVERY = 0.5
"""seconds between looks at our own capacity"""
_TRY_AGAIN = 5.0
"""seconds before inputs that did not arrive are fetched again"""
_FETCHES = 8
_LARGEST = 2 * 2**20
"""bytes of frame tarballs in one message"""

Arrived = tuple[int, list[int], str | None]
"""a guest's job, frames of it whose inputs are here, and why they will never be, where that is so"""


class Borrower:
    """Renders for peers; everything but fetching happens in the server's thread. `note` takes what handlers change."""

    def __init__(
        self, state: State, federation: Federation, settings: Settings, *, note: Callable[[Changed], None]
    ) -> None:
        self._state, self._federation, self._settings, self._note = state, federation, settings, note
        with state.engine.begin() as connection:
            self.guests: dict[int, Guest] = {guest.job: guest for guest in guests.every(connection)}
        self._fetching = ThreadPoolExecutor(_FETCHES, thread_name_prefix="lent inputs")
        self._under_way: set[int] = set()
        self._not_before: dict[int, float] = {}
        self._stocked: set[int] = set()
        self._arrived: deque[Arrived] = deque()
        self._taken = 0
        self._told: dict[str, list[Room]] = {}
        self._telling: dict[str, list[Room]] = {}
        self._next_look = 0.0
        self._ready_since: dict[tuple[int, int], float] = {}
        federation.on(CapacityWanted, self._hear_wanted)
        federation.on(Lend, self._hear_lend)
        federation.on(Recall, self._hear_recall)
        federation.on(LentJob, self._hear_job)
        federation.on(Check, self._hear_check)

    def stop(self) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)

    # -- what lenders say --------------------------------------------------------------------------------------------

    def _hear_wanted(self, connection: Connection, peer: str, message: CapacityWanted) -> After:
        def take() -> None:
            self._told.pop(peer, None)
            self._next_look = 0.0
            self._note(Changed())

        return take

    def _hear_lend(self, connection: Connection, peer: str, message: Lend) -> After | None:
        known = guests.of_job(connection, peer, message.job)
        called_off = any(self._is_called_off(connection, guest) for guest in known)
        if self._limit(peer) == 0 or called_off:
            reason = "the job was called off here" if called_off else "it takes no frames of this server"
            self._give_back(connection, peer, [(message.job, one.frame, one.issue) for one in message.frames], reason)
            return None
        entered: dict[int, Guest] = {}
        at_once: defaultdict[int, list[int]] = defaultdict(list)
        for render in message.frames:
            guest = guests.enter(connection, peer, message, render, self._state.now())
            entered[guest.job] = guest
            guests.take(connection, guest, render, arriving=True)
            if guest.job in self._stocked and not (render.needs or render.placed):
                at_once[guest.job].append(render.frame)
        changed = [self._admit(connection, entered[job], frames) for job, frames in at_once.items()]

        def take() -> None:
            self.guests.update(entered)
            for each in changed or [Changed()]:
                self._note(each)

        return take

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
                self._stocked.discard(guest.job)

        return take

    def _end(self, connection: Connection, held: dict[int, list[int]]) -> After:
        """Nobody wants these frames any more."""
        orders: list[Change] = []
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
                orders.append(Change(job=job, action="cancel", frames=[(n, n, 1) for n in out]))

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
            self._give_back(connection, peer, missing, "it does not have it")

    def _give_back(
        self, connection: Connection, peer: str, frames: Iterable[tuple[int, int, int]], reason: str
    ) -> None:
        self._federation.send(connection, peer, GivenBack(frames=list(frames), reason=reason[:2_000]))

    # -- in the turn's transaction -----------------------------------------------------------------------------------

    def describe(self, connection: Connection, job: int, ids: Iterable[int]) -> dict[int, Render]:
        """What our workers need to know to render these lent frames; `issue` is still the lender's."""
        guest = self.guests[job]
        found = guests.renders(connection, job, list(ids))
        return {number: _ours(render, guest) for number, render in found.items()}

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Take in inputs that have arrived; tell lenders what has become of their frames, and what we would take."""
        self._telling.clear()
        changed = self._take_arrived(connection)
        if self.guests:
            if tick:
                changed += self._give_back_waiting(connection)
                changed += self._forget_strangers(connection)
            self._bring_home(connection)
            self._fetch_inputs(connection)
        if self._state.steady() >= self._next_look:
            self._next_look = self._state.steady() + LOOK_EVERY
            self._tell_capacity(connection)
        return changed

    def committed(self) -> None:
        """What `follow` took in is in the database."""
        self._told.update(self._telling)
        self._telling.clear()
        for _ in range(self._taken):
            self._arrived.popleft()
        self._taken = 0

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

    def _bring_home(self, connection: Connection) -> None:
        """Tell the lenders what has become of their frames."""
        started: defaultdict[str, list[Started]] = defaultdict(list)
        for one in guests.news(connection):
            peer, where = one.guest.peer, (one.guest.of_job, one.frame, one.issue)
            attempt = self._attempt(connection, one)
            if one.state is FrameState.RENDERING:
                guests.told(connection, one)
                if attempt is not None:
                    started[peer].append(Started(**_about(one, attempt)))
                continue
            guests.brought_back(connection, one.guest.job, one.frame)
            if one.state is FrameState.CANCELLED:
                self._give_back(connection, peer, [where], "called off there")
            elif one.state is FrameState.DONE and attempt is not None:
                stored = frame_rows.load(connection, [(one.guest.job, one.frame)])[one.guest.job, one.frame]
                assert stored.frame.result is not None
                blob = Blob.of(stored.frame.result)
                small = blob.size <= INLINE and self._state.store.has(blob.digest)
                completed = Completed(
                    result=blob,
                    tarball=self._state.store.path(blob.digest).read_bytes() if small else None,
                    seconds=attempt.seconds or 0.0,
                    log=attempt.log or b"",
                    **_about(one, attempt),
                )
                self._federation.send(connection, peer, LentEvents(completed=[completed]))
            else:
                failed = Failed(
                    reason=(one.reason or "it failed there")[:2_000],
                    seconds=(attempt.seconds if attempt else None) or 0.0,
                    log=(attempt.log if attempt else None) or b"",
                    **_about(one, attempt or self._nobodys_attempt(one)),
                )
                self._federation.send(connection, peer, LentEvents(failed=[failed]))
        for peer, several in started.items():
            self._federation.send(connection, peer, LentEvents(started=several))

    @staticmethod
    def _attempt(connection: Connection, one: News) -> AttemptRecord | None:
        if one.token is None:
            return None
        found = attempt_rows.of_frame(connection, one.guest.job, one.frame)
        return next((attempt for attempt in found if attempt.token == one.token), None)

    def _nobodys_attempt(self, one: News) -> AttemptRecord:
        """What stands in for the attempt of a frame that failed without one."""
        return AttemptRecord(
            token=secrets.token_hex(16),
            job=one.guest.job,
            frame=one.frame,
            number=1,
            issue=one.issue,
            worker="nobody",
            state=AttemptState.FAILED,
            started=self._state.now(),
        )

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
            self._give_back(connection, peer, frames, "no slot is free for it there")
        return [lifecycle.save()]

    def _forget_strangers(self, connection: Connection) -> list[Changed]:
        """Frames of servers that are no peers any more are ended and forgotten."""
        members = {member.name for member in self._federation.members()}
        strangers = [guest for guest in self.guests.values() if guest.peer not in members]
        for guest in strangers:
            take = self._end(connection, {guest.job: guests.open_frames(connection, guest.job)})
            guests.forget(connection, guest.job)
            take()
            del self.guests[guest.job]
        return []

    # -- what we could take ------------------------------------------------------------------------------------------

    def _limit(self, peer: str) -> int | None:
        return self._settings.borrow_from.get(peer, self._settings.borrow)

    def _tell_capacity(self, connection: Connection) -> None:
        """Say how many frames each peer may lend us, where that has changed."""
        peers = [one.name for one in self._federation.members() if self._federation.is_up(one.name)]
        for peer in [peer for peer in self._told if peer not in peers]:
            del self._told[peer]
        if not peers:
            return
        free = self._free(connection)
        held = guests.held_by_peer(connection)
        for peer in peers:
            others = sum(count for name, count in held.items() if name != peer)
            limits = [self._settings.borrow_from.get(peer)]
            limits.append(None if self._settings.borrow is None else self._settings.borrow - others)
            least = min((limit for limit in limits if limit is not None), default=None)
            rooms = [room.model_copy(update={"frames": max(_least(room.frames - others, least), 0)}) for room in free]
            if rooms != self._told.get(peer):
                self._federation.send(connection, peer, Capacity(rooms=rooms))
                self._telling[peer] = rooms

    def _free(self, connection: Connection) -> list[Room]:
        """The room of each class beyond what our own jobs need."""
        steady, fleet = self._state.steady(), self._state.fleet
        classes = fleet.classes(steady)
        own = guests.issued_to_own(connection)
        wanted = [
            (job.pool, set(job.lanes))
            for job in job_rows.in_turn(connection)
            if job.counts[FrameState.READY] and job.id not in self.guests
        ]
        rooms = []
        for queue, one in sorted(classes.items()):
            busy = any(pool == one.pool and lanes & set(one.renderers) for pool, lanes in wanted)
            room = 0 if busy else max(dispatch.window(one, fleet.rate(queue, steady)) - own.get(queue, 0), 0)
            rooms.append(Room(queue=queue[:200], pool=one.pool, renderers=dict(one.renderers), frames=room))
        return rooms

    # -- inputs, fetched in threads of their own ---------------------------------------------------------------------

    def _fetch_inputs(self, connection: Connection) -> None:
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
        self._note(Changed())
        self._federation.wake()

    def _bring_seed(self, guest: Guest, manifest: Blob) -> None:
        if guest.job in self._stocked:
            return
        self._bring(guest.peer, manifest)
        for file in Manifest.expect(self._state.store.path(manifest.digest).read_bytes()).files:
            self._bring(guest.peer, Blob(digest=file.digest, size=file.size))
        self._stocked.add(guest.job)

    def _bring(self, peer: str, blob: Blob) -> None:
        if not self._state.store.has(blob.digest):
            self._federation.fetcher(peer).receiver.fetch(blob.value())

    def _take_arrived(self, connection: Connection) -> list[Changed]:
        arrived = list(self._arrived)
        self._taken = len(arrived)
        changed = []
        for job, ids, reason in arrived:
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
            self._give_back(connection, guest.peer, frames, reason)
        return changed


def _about(one: News, attempt: AttemptRecord) -> dict[str, Any]:
    """An attempt in the lender's numbers."""
    return {
        "worker": attempt.worker,
        "job": one.guest.of_job,
        "frame": one.frame,
        "issue": one.issue,
        "token": attempt.token,
        "started": attempt.started,
    }


def _ours(render: Render, guest: Guest) -> Render:
    """A lent frame as our workers are told of it: needed results are laid where the lender's job expects them."""
    placed = [
        (f"frame/{frame}" if job == guest.of_job else f"{job}/frame/{frame}", digest, size)
        for job, frame, digest, size in render.needs
    ]
    return render.model_copy(update={"job": guest.job, "needs": [], "placed": [*placed, *render.placed]})


def _needed(render: Render) -> Iterable[Blob]:
    for _, _, digest, size in render.needs:
        yield Blob(digest=digest, size=size)
    for _, digest, size in render.placed:
        yield Blob(digest=digest, size=size)


def _least(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)
