"""The server as a lender: its ready frames go to peers with free slots, and what peers make of them comes home.

Which frame is where stands in the database (storage/loans.py). What peers must be told follows from that in every turn,
so it does not matter by whom, and in which process, a frame was called off or taken back.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import Connection

from distren.config import Settings
from distren.domain import lending as rules
from distren.domain.job import Blob
from distren.domain.states import FrameState
from distren.errors import DistrenError, NotFound, TransferError
from distren.federation.receiver import After
from distren.server.changes import Changed
from distren.server.dispatch import LENT, Owing
from distren.server.federation import Federation
from distren.server.fleet import WorkerClass
from distren.server.lifecycle import Event, Lifecycle
from distren.server.results import as_failed, check_bytes
from distren.server.state import State
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage import loans
from distren.storage.jobs import Job
from distren.storage.loans import Loan
from distren.wire.frames import Completed, Progress, Render, Started
from distren.wire.lending import (
    MOST_FRAMES,
    Capacity,
    CapacityWanted,
    Check,
    GivenBack,
    Lend,
    LentEvents,
    LentJob,
    LentProgress,
    Recall,
)

log = logging.getLogger(__name__)

CHECK_EVERY = 60.0
"""seconds between questions whether a peer still has what it was lent"""
SILENT_AFTER = 60.0
"""seconds after a start before a peer that has not been heard counts as silent: longer than a hello takes"""
REFUSED_FOR = 30.0
"""seconds during which a peer that has given back frames of a job is lent none of it"""
_LARGEST = 4 * 2**20
"""bytes of frames in one message; a message may be twice as large"""
_FETCHES = 4
_TRY_AGAIN = 5.0
"""seconds before a tarball that did not arrive is fetched again"""


class Lender:
    """Lends frames; everything but fetching happens in the server's thread. `note` takes what handlers have changed."""

    def __init__(
        self,
        state: State,
        federation: Federation,
        settings: Settings,
        *,
        note: Callable[[Changed], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._state, self._federation, self._settings, self._note = state, federation, settings, note
        self._on_progress = on_progress
        self._asked: set[str] = set()
        self._asking: set[str] = set()
        self._refused: dict[tuple[str, int], float] = {}
        self._backlogs: dict[tuple[int, str], tuple[float, float | None]] = {}
        self._fetching = ThreadPoolExecutor(_FETCHES, thread_name_prefix="lent results")
        self._under_way: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._fetched: deque[tuple[str, str, Event]] = deque()
        self._taken = 0
        self._pending = True
        self._next_check = 0.0
        federation.on(Capacity, self._hear_capacity)
        federation.on(LentEvents, self._hear_events)
        federation.on(GivenBack, self._hear_given_back)
        federation.listen(LentProgress, self._hear_progress)

    def stop(self) -> None:
        self._fetching.shutdown(wait=False, cancel_futures=True)

    def fetch_soon(self) -> None:
        """A result is to be fetched from a peer."""
        self._pending = True

    # -- who may have what -------------------------------------------------------------------------------------------

    def is_willing(self, connection: Connection, queue: str, job: Job, renderer: str) -> bool:
        """Whether frames of the job may be lent to the peer behind `queue`."""
        peer = rules.peer_of(queue)
        if peer is None or not self._federation.is_up(peer):
            return False
        if self._refused.get((peer, job.id), 0.0) > self._state.steady():
            return False
        versions = self._state.fleet.versions(renderer, job.pool, self._state.steady())
        if not rules.suits(renderer, self._state.fleet.offers[queue].renderers, versions):
            return False
        eagerness = self._settings.lend_to.get(peer, self._settings.lend)
        if isinstance(eagerness, str):
            return rules.is_eager(eagerness, None)
        return rules.is_eager(eagerness, self._backlog(connection, job, renderer))

    def _backlog(self, connection: Connection, job: Job, renderer: str) -> float | None:
        """Seconds that our workers need for the frames of the job that are ready; looked at now and then."""
        steady = self._state.steady()
        known = self._backlogs.get((job.id, renderer))
        if known is not None and steady - known[0] < _TRY_AGAIN:
            return known[1]
        slots = sum(
            one.slots
            for one in self._state.fleet.classes(steady).values()
            if one.pool == job.pool and renderer in one.renderers
        )
        mean = loans.mean_seconds(connection, job.id)
        backlog = float("inf") if not slots else None
        if slots and mean is not None:
            backlog = job.counts[FrameState.READY] * mean / slots
        self._backlogs[job.id, renderer] = steady, backlog
        return backlog

    # -- in the turn's transaction -----------------------------------------------------------------------------------

    def lend(self, connection: Connection, owing: Iterable[Owing]) -> list[Owing]:
        """Send the frames that were issued to peers; returns the messages that are for our own broker."""
        ours: list[Owing] = []
        theirs: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
        for exchange, queue, body in owing:
            peer = rules.peer_of(queue)
            if exchange != LENT or peer is None:
                ours.append((exchange, queue, body))
            else:
                theirs[peer, Render.expect(body).job].append(body)
        for (peer, number), bodies in theirs.items():
            job = job_rows.by_id(connection, number)
            assert job is not None
            for part in _parts(bodies):
                renders = [Render.expect(body) for body in part]
                lend = Lend(job=job.id, name=job.name[:1_000], pool=job.pool, priority=job.priority, frames=renders)
                self._federation.send(connection, peer, lend)
                loans.add(connection, peer, job.id, job.priority, [(one.frame, one.issue) for one in renders])
        return ours

    def withdraw(self, connection: Connection, lifecycle: Lifecycle, *, everything: bool, tick: bool) -> None:
        """Take back what silent peers have, and what has not been begun of jobs that were paused."""
        if tick:
            for peer in self._look_at_peers(connection):
                taken = [
                    stored for stored in frame_rows.issued(connection) if rules.peer_of(stored.frame.queue) == peer
                ]
                for stored in taken:
                    lifecycle.take_back(stored, f"'{peer}' is silent")
                if taken:
                    log.warning("frames taken back from a silent peer", extra={"peer": peer, "frames": len(taken)})
        if everything:
            paused = loans.waiting_of_paused(connection)
            for stored in frame_rows.load(connection, [(one.job, one.frame) for one in paused]).values():
                lifecycle.take_back(stored, "its job is paused")

    def _look_at_peers(self, connection: Connection) -> set[str]:
        """The peers that are silent and have frames; those that have come up are asked for their capacity."""
        up = {member.name for member in self._federation.members() if self._federation.is_up(member.name)}
        for peer in up - self._asked:
            self._federation.send(connection, peer, CapacityWanted())
        self._asking = up
        offers = self._state.fleet.offers
        for queue in [queue for queue in offers if rules.peer_of(queue) not in up]:
            del offers[queue]
        have = {rules.peer_of(queue) for queue in frame_rows.issued_by_queue(connection)}
        early = self._state.steady() - self._state.opened < SILENT_AFTER
        perhaps = {member.name for member in self._federation.members()} if early else up
        return {peer for peer in have if peer is not None and peer not in perhaps}

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Tell peers what follows for them from all that has changed; take in the results that were fetched."""
        changed = self._take_fetched(connection)
        members = {member.name for member in self._federation.members()}
        if tick:
            loans.forget_peers(connection, members)
            self._pending = True
        recalled: defaultdict[str, list[Loan]] = defaultdict(list)
        for loan in loans.unwanted(connection):
            recalled[loan.peer].append(loan)
        for peer, several in recalled.items():
            self._federation.send(connection, peer, Recall(frames=[(one.job, one.frame, one.issue) for one in several]))
            loans.remove(connection, several)
        for job in loans.changed_jobs(connection):
            self._federation.send(
                connection, job.peer, LentJob(job=job.job, priority=max(job.priority, 0), ended=job.ended)
            )
            loans.told_of_job(connection, job)
        if tick and self._state.steady() >= self._next_check:
            self._next_check = self._state.steady() + CHECK_EVERY
            for peer in loans.count(connection):
                frames = [(one.job, one.frame, one.issue) for one in loans.of_peer(connection, peer)]
                self._federation.send(connection, peer, Check(frames=frames[:10_000]))
        if self._pending:
            self._fetch_kept(connection)
        return changed

    def committed(self) -> None:
        """What `follow` took in is in the database."""
        self._asked = self._asking
        for _ in range(self._taken):
            self._fetched.popleft()
        self._taken = 0

    # -- what peers say ----------------------------------------------------------------------------------------------

    def _hear_capacity(self, connection: Connection, peer: str, message: Capacity) -> After:
        offered = {
            rules.queue(peer, room.queue): WorkerClass(
                queue=rules.queue(peer, room.queue),
                pool=room.pool,
                renderers=room.renderers,
                room=room.frames,
                slots=0,
            )
            for room in message.rooms
        }

        def take() -> None:
            offers = self._state.fleet.offers
            for queue in [queue for queue in offers if rules.peer_of(queue) == peer]:
                del offers[queue]
            offers.update(offered)
            self._note(Changed())

        return take

    def _hear_progress(self, peer: str, message: LentProgress) -> None:
        with self._state.engine.begin() as connection:
            theirs = {(one.job, one.frame) for one in loans.of_peer(connection, peer)}
        for event in message.frames:
            if (event.job, event.frame) in theirs:
                self._on_progress(event.model_copy(update={"worker": f"{peer}/{event.worker}"[:200]}))

    def _hear_events(self, connection: Connection, peer: str, message: LentEvents) -> After:
        ready: list[Event] = []
        said: list[Event] = [*message.started, *message.completed, *message.failed]
        for event in said:
            if not loans.has_job(connection, peer, event.job):
                log.warning("a peer's result of a job that it has no frames of", extra={"peer": peer, "job": event.job})
                continue
            event = event.model_copy(update={"worker": f"{peer}/{event.worker}"[:200]})
            if not isinstance(event, Started):
                loans.remove(connection, [Loan(job=event.job, frame=event.frame, peer=peer, issue=event.issue)])
            if isinstance(event, Completed) and not self._store(event):
                loans.keep_result(connection, peer, event.token, event.encode())
                self._pending = True
            else:
                ready.append(event)
        changed = self._apply(connection, ready)
        return lambda: self._note(changed)

    def _store(self, event: Completed) -> bool:
        """Whether the frame tarball is in our store now, or never will be."""
        if event.tarball is None:
            return self._state.store.has(event.result.digest)
        if check_bytes(event) is not None:
            return False
        with suppress(DistrenError, OSError):
            self._state.store.put(event.tarball)
        return self._state.store.has(event.result.digest)

    def _apply(self, connection: Connection, events: list[Event]) -> Changed:
        lifecycle = Lifecycle(connection, self._state.now())
        lifecycle.apply(events)
        return lifecycle.save()

    def _hear_given_back(self, connection: Connection, peer: str, message: GivenBack) -> After:
        lifecycle = Lifecycle(connection, self._state.now())
        back = {(job, frame): issue for job, frame, issue in message.frames}
        for key, stored in frame_rows.load(connection, back).items():
            if rules.peer_of(stored.frame.queue) == peer and stored.frame.issue == back[key]:
                lifecycle.take_back(stored, f"'{peer}' gave it back: {message.reason}"[:2_000])
        loans.remove(connection, [Loan(job=job, frame=frame, peer=peer, issue=n) for (job, frame), n in back.items()])
        changed = lifecycle.save()
        until = self._state.steady() + REFUSED_FOR

        def take() -> None:
            self._refused.update({(peer, job): until for job, _ in back})
            self._note(changed)

        return take

    # -- large results, fetched in threads of their own --------------------------------------------------------------

    def _fetch_kept(self, connection: Connection) -> None:
        self._pending = False
        for token, peer, body in loans.kept_results(connection):
            due = self._state.steady() >= self._not_before.get(token, 0.0)
            if token not in self._under_way and due and self._federation.is_up(peer):
                self._under_way.add(token)
                self._fetching.submit(self._fetch, token, peer, Completed.expect(body))

    def _fetch(self, token: str, peer: str, event: Completed) -> None:
        try:
            outcome = self._bring(peer, event)
        except (DistrenError, OSError) as error:
            log.warning("a lent frame's result did not arrive, tried again: %s", error, extra={"peer": peer})
            self._not_before[token] = self._state.steady() + _TRY_AGAIN
            self._under_way.discard(token)
            return
        self._not_before.pop(token, None)
        self._fetched.append((token, peer, outcome))
        self._note_soon()

    def _bring(self, peer: str, event: Completed) -> Event:
        if (reason := check_bytes(event)) is not None:
            return as_failed(event, reason)
        if event.tarball is not None:
            self._state.store.put(event.tarball)
            return event
        blob = Blob(digest=event.result.digest, size=event.result.size)
        try:
            path = self._federation.fetcher(peer).receiver.fetch(blob)
        except NotFound as error:
            return as_failed(event, f"its frame tarball is lost: {error}")
        if path.stat().st_size != blob.size:
            raise TransferError(f"{blob.digest[:12]} has {path.stat().st_size} bytes, not {blob.size}")
        return event

    def _note_soon(self) -> None:
        self._note(Changed())
        self._federation.wake()

    def _take_fetched(self, connection: Connection) -> list[Changed]:
        fetched = list(self._fetched)
        self._taken = len(fetched)
        if not fetched:
            return []
        for token, _, _ in fetched:
            loans.drop_result(connection, token)
            self._under_way.discard(token)
        return [self._apply(connection, [event for _, _, event in fetched])]


def _parts(bodies: list[bytes]) -> Iterable[list[bytes]]:
    """The messages in parts that are small enough to travel together."""
    part: list[bytes] = []
    size = 0
    for body in bodies:
        if part and (len(part) == MOST_FRAMES or size + len(body) > _LARGEST):
            yield part
            part, size = [], 0
        part.append(body)
        size += len(body)
    if part:
        yield part
