"""Hands whole jobs over to peers. The job stands still here until the peer has it; then only the way to it is left.

A move is a row in the database (storage/moves.py), so it goes on after any crash. Until the peer has been told to take
the job over, it can be kept here; from then on only the peer's answer decides. Both pass as messages that arrive once.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from distren import errors, failpoints
from distren.domain.job import Blob
from distren.domain.lending import peer_of
from distren.domain.states import ISSUED, JOB_ENDED, FrameState, JobState
from distren.errors import Conflict, DistrenError, InputError, NotFound, TransferError
from distren.federation.member import Member
from distren.federation.receiver import After
from distren.jobfile.manifest import read_manifest
from distren.server import belongings, seeds
from distren.server.changes import Changed
from distren.server.federation import Federation
from distren.server.lifecycle import Lifecycle
from distren.server.state import State
from distren.storage import dependencies
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage import moves as rows
from distren.storage.jobs import Job
from distren.storage.moves import MoveRecord, MoveState
from distren.urls import Url
from distren.wire import fields
from distren.wire.codec import LARGEST_MESSAGE, Message
from distren.wire.frames import Stop
from distren.wire.jobs import Change
from distren.wire.moves import Move, Moved, Moving, TakenOver, TakeOver

log = logging.getLogger(__name__)

_AT_ONCE = 2
_SILENCE = 120.0
"""seconds without a byte after which a transfer is broken off; what has arrived by then, the peer keeps"""
_TRY_AGAIN = 5.0
"""seconds before a transfer that broke off goes on"""
_TELL_EVERY = 0.5
"""seconds between two news of how far a job is"""
_KEEPING = ("cancel", "resume", "delete")
"""changes of a job that keep it here, as long as the peer has not been told to take it"""


@dataclass(kw_only=True)
class _Journey:
    """A job whose files are on their way; bytes. `outcome` is set by the thread that carries it, at the end."""

    key: str
    sent: int = 0
    missing: int = 0
    told: float = 0.0
    outcome: TakeOver | DistrenError | None = None


class Moves:
    """Everything but carrying happens in the server's thread. `note` takes what handlers have changed."""

    def __init__(self, state: State, federation: Federation, *, note: Callable[[Changed], None]) -> None:
        self._state, self._federation, self._note = state, federation, note
        self._carriers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="moves")
        self._journeys: dict[int, _Journey] = {}
        self._not_before: dict[int, float] = {}
        self._ended: deque[int] = deque()
        self._got_on: deque[int] = deque()
        self._said: dict[int, str] = {}
        self._taken: list[int] = []
        self._stale = False
        with state.engine.begin() as connection:
            self._moved = {one.job: _moved(one) for one in rows.every(connection, MoveState.MOVED)}
            self._under_way = _under_way(connection)
        federation.on(TakenOver, self._hear_taken)

    def stop(self) -> None:
        self._carriers.shutdown(wait=False, cancel_futures=True)

    # -- what people ask ---------------------------------------------------------------------------------------------

    def forward(self, job: int) -> Moved | None:
        """Where a job is that was handed over; None for any other."""
        return self._moved.get(job)

    def why(self, job: int) -> str:
        """One line on a job that is on its way; empty for any other."""
        move = self._under_way.get(job)
        if move is None:
            return ""
        keeps = self._state.lending.trouble(move.peer)
        what = f"on its way to '{move.peer}'" if move.state is MoveState.LEAVING else f"handed to '{move.peer}'"
        return f"{what}: {keeps}" if keeps else what

    def move(self, message: Move) -> Message:
        """Begin to hand a job over, or say how it goes. Raises NotFound, Conflict, and what it was refused with."""
        if (moved := self._moved.get(message.job)) is not None:
            return moved
        with self._state.engine.begin() as connection:
            known = rows.find(connection, message.job)
            if known is not None and known.state is MoveState.REFUSED and known.key == message.key:
                raise errors.by_name(known.error or "")(known.reason or "it was refused")
            changed = None
            if known is None or known.state is MoveState.REFUSED:
                changed = self._begin(connection, message)
            self._under_way = _under_way(connection)
        if changed is not None:
            failpoints.reach("server.move.begun")
            self._state.rearrange(Stop(job=message.job))
            self._note(changed)
        return self._progress(message)

    def _progress(self, message: Move) -> Moving:
        move = self._under_way[message.job]
        if move.peer != message.server.lower():
            raise Conflict(f"job {message.job} is on its way to '{move.peer}' already")
        journey = self._journeys.get(message.job) or _Journey(key=move.key)
        return Moving(sent=journey.sent, missing=journey.missing, waits=self._state.lending.trouble(move.peer))

    def _begin(self, connection: Connection, message: Move) -> Changed:
        lifecycle = Lifecycle(connection, self._state.now())
        job = lifecycle.shown_job(message.job)
        peer = message.server.lower()
        if peer == self._state.name:
            raise Conflict(f"job {job.id} is at '{peer}' already")
        self._federation.member(peer)
        self._check(connection, job)
        rows.begin(connection, job.id, peer, message.key, paused=job.state is JobState.PAUSED)
        if job.state is not JobState.PAUSED:
            lifecycle.pause(job.id)
        for stored in frame_rows.of_job(connection, job.id, limit=2**31 - 1, states=list(ISSUED)):
            # what waits in a queue of ours is taken back when that is emptied, with the next turn
            if stored.frame.state is FrameState.RENDERING or peer_of(stored.frame.queue) is not None:
                lifecycle.take_back(stored, f"its job goes to '{peer}'")
        return lifecycle.save()

    @staticmethod
    def _check(connection: Connection, job: Job) -> None:
        """A job can be moved that has not ended and stands alone. Raises Conflict."""
        if job.state in JOB_ENDED:
            raise Conflict(f"job {job.id} is {job.state}: only a job that has not ended can be moved")
        if rows.is_guest(connection, job.id):
            raise Conflict(f"job {job.id} holds frames that a peer has lent: move the job where it was submitted")
        alone = "only a job that stands alone can be moved"
        if (needed := rows.needed_job(connection, job.id)) is not None:
            raise Conflict(f"job {job.id} needs frames of job {needed}: {alone}")
        if (needing := dependencies.open_job_needing(connection, job.id, ())) is not None:
            raise Conflict(f"job {needing} needs frames of job {job.id}: {alone}")
        if (watching := rows.watching_peer(connection, job.id)) is not None:
            raise Conflict(f"frames of '{watching}' need frames of job {job.id}: {alone}")

    def check_change(self, connection: Connection, message: Change) -> None:
        """Before a job is changed: one that is on its way stays here, or must not be changed. Raises Conflict."""
        move = rows.find(connection, message.job) if message.job in self._under_way else None
        if move is None:
            return
        if move.state is MoveState.SENT:
            raise Conflict(f"'{move.peer}' was told to take job {move.job} over, and has not answered: try again later")
        if message.action not in _KEEPING or message.frames is not None:
            raise Conflict(f"job {move.job} is {self.why(move.job)}: 'distren resume {move.job}' keeps it here")
        rows.forget(connection, move.job)
        self._under_way = {job: one for job, one in self._under_way.items() if job != move.job}
        self._stale = True  # it is looked at again, should this not be committed

    # -- in the turn's transaction -----------------------------------------------------------------------------------

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """Carry what is on its way, and tell the peers to take over what has arrived."""
        if not (self._under_way or self._ended or self._stale):
            return []
        self._stale = True  # until it is committed
        self._under_way = _under_way(connection)
        changed = []
        if tick:
            members = {member.name for member in self._federation.members()}
            lonely = rows.without_peer(connection, members)
            changed += [self._stay(connection, one, NotFound(f"'{one.peer}' is no peer any more")) for one in lonely]
        changed += self._news(connection, tick=tick)
        self._taken = list(self._ended)
        for job in self._taken:
            changed += self._arrived(connection, job)
        self._under_way = _under_way(connection)
        for move in self._under_way.values():
            due = self._state.steady() >= self._not_before.get(move.job, 0.0)
            if move.state is MoveState.LEAVING and move.job not in self._journeys and due:
                self._carry(connection, move)
        return changed

    def committed(self) -> None:
        """What `follow` did is in the database."""
        self._stale = False
        for job in self._taken:
            self._ended.popleft()
            self._journeys.pop(job, None)
        self._taken = []

    def _news(self, connection: Connection, *, tick: bool) -> list[Changed]:
        """The jobs that have got on, or that something else keeps now: their listeners ask how it goes."""
        jobs = {self._got_on.popleft() for _ in range(len(self._got_on))}
        if tick:
            said = {job: self.why(job) for job in self._under_way}
            jobs |= {job for job, why in said.items() if why != self._said.get(job)}
            self._said = said
        return [Changed(jobs=[found]) for job in jobs if (found := job_rows.by_id(connection, job)) is not None]

    def _carry(self, connection: Connection, move: MoveRecord) -> None:
        job = job_rows.by_id(connection, move.job)
        if job is None or not self._federation.is_up(move.peer):
            self._not_before[move.job] = self._state.steady() + _TRY_AGAIN
            return
        journey = self._journeys[move.job] = _Journey(key=move.key)
        self._carriers.submit(self._travel, self._federation.member(move.peer), job, move, journey)

    def _arrived(self, connection: Connection, job: int) -> list[Changed]:
        """A carrier has come to its end: with everything at the peer, or with an error."""
        move, journey = self._under_way.get(job), self._journeys.get(job)
        if move is None or journey is None or journey.key != move.key or move.state is not MoveState.LEAVING:
            return []
        outcome = journey.outcome
        if isinstance(outcome, TakeOver):
            rows.change(connection, job, MoveState.SENT)
            self._federation.send(connection, move.peer, outcome)
            failpoints.reach("server.move.sent")
        elif isinstance(outcome, TransferError | InputError | NotFound):
            return [self._stay(connection, move, outcome)]
        else:
            log.warning("a job did not get to a peer, tried again: %s", outcome, extra={"job": job, "peer": move.peer})
            self._not_before[job] = self._state.steady() + _TRY_AGAIN
        return []

    def _stay(self, connection: Connection, move: MoveRecord, error: DistrenError) -> Changed:
        """The peer does not take the job: it goes on here."""
        log.warning("a job is not moved: %s", error, extra={"job": move.job, "peer": move.peer})
        rows.change(connection, move.job, MoveState.REFUSED, error=type(error).__name__, reason=str(error)[:2_000])
        lifecycle = Lifecycle(connection, self._state.now())
        job = lifecycle.job(move.job)
        if not move.paused and job.state is JobState.PAUSED:
            lifecycle.resume(move.job)
        changed = lifecycle.save()
        return changed if changed.jobs else replace(changed, jobs=[job])  # who moves it waits for news of it

    # -- in threads of their own -------------------------------------------------------------------------------------

    def _travel(self, member: Member, job: Job, move: MoveRecord, journey: _Journey) -> None:
        """Bring everything that the job consists of to the peer."""
        began = time.monotonic()
        try:
            journey.outcome = self._bring(member, job, move, journey)
            log.info("a job's files are at a peer", extra={"job": job.id, "seconds": time.monotonic() - began})
        except DistrenError as error:
            journey.outcome = error
        except Exception as error:
            log.exception("a job could not be brought to a peer", extra={"job": job.id})
            journey.outcome = DistrenError(f"it could not be brought to '{member.name}': {type(error).__name__}")
        self._ended.append(job.id)
        self._wake()

    def _wake(self) -> None:
        """Have the server take a turn."""
        self._note(Changed())
        self._federation.wake()

    def _bring(self, member: Member, job: Job, move: MoveRecord, journey: _Journey) -> TakeOver:
        def count(sent: int, missing: int) -> None:
            journey.sent, journey.missing = sent, missing
            now = time.monotonic()
            if now - journey.told >= _TELL_EVERY:
                journey.told = now
                self._got_on.append(job.id)
                self._wake()

        store = self._state.store
        inputs = read_manifest(seeds.read_blob(store, job.manifest, "the manifest", LARGEST_MESSAGE))
        parts, results = belongings.pack(self._state.engine, store, job.id)
        blobs: dict[str, Blob] = {
            one.digest: one for one in (job.manifest, *(file.blob for file in inputs), *parts, *results)
        }
        files = [(blob, store.path(digest)) for digest, blob in blobs.items()]
        member.uploads.offer_all(files, on_bytes=count, timeout=_SILENCE)
        return TakeOver(
            job=job.id,
            key=move.key,
            manifest=fields.Blob.of(job.manifest),
            priority=job.priority,
            paused=move.paused,
            next_file=job.next_file,
            frames=[fields.Blob.of(part) for part in parts],
        )

    # -- what peers say ----------------------------------------------------------------------------------------------

    def _hear_taken(self, connection: Connection, peer: str, message: TakenOver) -> After | None:
        move = rows.find(connection, message.job)
        if move is None or (move.key, move.peer, move.state) != (message.key, peer, MoveState.SENT):
            return None
        self._stale = True
        if message.became is None:
            error = errors.by_name(message.error)(f"'{peer}' refuses job {move.job}: {message.reason}")
            changed = self._stay(connection, move, error)
            return lambda: self._note(changed)
        rows.change(connection, move.job, MoveState.MOVED, became=message.became)
        lifecycle = Lifecycle(connection, self._state.now())
        lifecycle.call_off(move.job)
        job_rows.mark_deleted(connection, move.job, self._state.now())
        changed = lifecycle.save()
        moved = Moved(server=peer, job=message.became)
        failpoints.reach("server.move.end.before")

        def take() -> None:
            failpoints.reach("server.move.end.after")
            self._moved[move.job] = moved
            self._state.sweeping = True
            self._note(changed)
            log.info("a job was handed over: it is %s now", _url(moved), extra={"job": move.job})

        return take


def _under_way(connection: Connection) -> dict[int, MoveRecord]:
    return {one.job: one for one in rows.every(connection, MoveState.LEAVING, MoveState.SENT)}


def _moved(move: MoveRecord) -> Moved:
    assert move.became is not None
    return Moved(server=move.peer, job=move.became)


def _url(moved: Moved) -> Url:
    return Url(server=moved.server, job=moved.job)
