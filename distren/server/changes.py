"""What one transaction changes: frames, attempts and jobs are read once, and written when all is decided."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, Connection

from distren.domain import frame as frame_rules
from distren.domain.frame import Frame
from distren.domain.job import Blob
from distren.domain.progress import Counts, outcome
from distren.domain.states import FRAME_ENDED, JOB_ENDED, AttemptState, FrameState, JobState
from distren.errors import NotFound
from distren.server import consequences
from distren.server.consequences import Kinds, Move
from distren.storage import attempts as attempt_rows
from distren.storage import cascades, dependencies, far, identity, mass
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage.attempts import AttemptRecord
from distren.storage.cascades import Moved
from distren.storage.frames import Stored
from distren.storage.jobs import Job

Key = tuple[int, int]
MANY = 2_000
"""dependencies from which on the frames that follow are changed by a statement: others would wait for 0.2 s"""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What a transaction changed: the frames and jobs as they are now, and the results by queue for the rates."""

    frames: Collection[Stored] = ()
    jobs: Collection[Job] = ()
    retries: Collection[float] = ()
    finished_by_queue: Counter[str] = field(default_factory=Counter)


class Changes:
    """The frames and jobs that one transaction works on."""

    def __init__(self, connection: Connection, now: float) -> None:
        self._connection, self._now = connection, now
        self._frames: dict[Key, Stored] = {}
        self._before: dict[Key, Frame] = {}
        self._written: dict[Key, Stored] = {}
        self._attempts: dict[str, AttemptRecord] = {}
        self._new: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        self._jobs: dict[int, Job] = {}
        self._changed_jobs: dict[int, None] = {}
        self._gave_files: set[int] = set()
        self._moved: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
        self._parts: list[tuple[int, ColumnElement[bool], bool]] = []
        self._retries: list[float] = []
        self._finished: Counter[str] = Counter()

    def job(self, number: int) -> Job:
        """The job's record, even if it is being deleted; raises NotFound."""
        if number not in self._jobs:
            found = job_rows.by_id(self._connection, number)
            if found is None:
                raise _no_job(number)
            self._jobs[number] = found
        return self._jobs[number]

    def know(self, job: Job) -> None:
        """A job's record that was read in this transaction, so that it is not read again."""
        self._jobs.setdefault(job.id, job)

    def shown_job(self, number: int) -> Job:
        """The record of a job that people may ask about; raises NotFound."""
        if self.job(number).deleted:
            raise _no_job(number)
        return self.job(number)

    def frame(self, job: int, number: int) -> Frame:
        """The frame's record; raises NotFound."""
        self.shown_job(job)
        self._load([(job, number)])
        if (job, number) not in self._frames:
            raise NotFound(f"job {job} has no frame {number}: 'distren frames {job}' lists its frames")
        return self._frames[job, number].frame

    def _load(self, keys: Iterable[Key]) -> None:
        missing = {key for key in keys if key not in self._frames}
        self._frames.update(frame_rows.load(self._connection, missing))

    def _set(self, before: Frame, after: Frame) -> None:
        if after is before:
            return
        key = (before.job, before.id)
        self._before.setdefault(key, before)
        self._frames[key] = self._frames[key].become(after)
        ended = after.state in FRAME_ENDED and before.state not in FRAME_ENDED
        if ended and after.state is FrameState.CANCELLED and before.token is not None:
            self._end_attempt(before.token, AttemptState.DROPPED, reason="the frame was called off")

    def _set_job(self, job: int, state: JobState) -> None:
        record = self.job(job)
        ended = self._now if state in JOB_ENDED else None
        job_rows.set_state(self._connection, job, state, ended)
        self._jobs[job] = replace(record, state=state, ended=ended)
        self._changed_jobs[job] = None

    def _moved_many(
        self,
        job: int,
        part: ColumnElement[bool],
        before: Mapping[FrameState, int],
        after: Mapping[FrameState, int | None],
    ) -> None:
        """Note that many frames of a job were changed in the database itself: how many were in which state, and are.

        None is for the rest. `part` chooses them; none of these frames has been loaded.
        """
        if not before:
            return
        self._parts.append((job, part, FrameState.CANCELLED in after))
        rest = sum(before.values()) - sum(count for count in after.values() if count is not None)
        for state, count in before.items():
            self._moved[job][state] -= count
        for state, moved in after.items():
            self._moved[job][state] += rest if moved is None else moved

    def save(self) -> Changed:
        """Write everything; what changed is returned, to be told to others after the commit."""
        self._follow()
        self._follow_moved()
        changed = [self._frames[key] for key in self._before]
        if self._written:
            self._write_frames()
        else:
            frame_rows.save(self._connection, changed)
        attempt_rows.save(
            self._connection,
            [self._attempts[token] for token in self._new],
            [self._attempts[token] for token in self._touched if token not in self._new],
        )
        self._save_counts()
        return Changed(
            frames=changed,
            jobs=[self._jobs[job] for job in self._changed_jobs],
            retries=self._retries,
            finished_by_queue=self._finished,
        )

    def _write_frames(self) -> None:
        """Write what has changed since the last time."""
        fresh = [key for key in self._before if self._frames[key] is not self._written.get(key)]
        frame_rows.save(self._connection, [self._frames[key] for key in fresh])
        self._written.update((key, self._frames[key]) for key in fresh)

    def settle(self, job: int, after: int, last: int) -> bool:
        """What blocked frames of a job need may have failed long ago: those with ids above `after`, up to `last`.

        Whether there are such frames.
        """
        self._write_frames()
        moves = [
            Move(key=key, before=FrameState.READY, after=FrameState.BLOCKED, needed=self.job(job).needed)
            for key in dependencies.waiting_in_vain(self._connection, job, after, last)
        ]
        self._follow_from(moves)
        return bool(moves)

    def _follow(self) -> None:
        """Let the frames that need the changed ones follow, until nothing more changes."""
        followed: dict[Key, FrameState] = {}
        while moves := self._moves(followed):
            self._write_frames()
            self._follow_from(moves)

    def _follow_moved(self) -> None:
        """Let frames of other jobs follow those that were changed in the database itself."""
        for job, part, broken in self._parts:
            if not self.job(job).needed:
                continue
            self._write_frames()
            states = [FrameState.CANCELLED] if broken else [FrameState.READY, FrameState.BLOCKED]
            before, after = FrameState.READY, FrameState.CANCELLED
            if not broken:
                before, after = after, before
            moves = [
                Move(key=key, before=before, after=after, needed=True)
                for key in mass.needed_elsewhere(self._connection, job, part, states)
            ]
            if moves:
                self._follow_from(moves)
                self._follow()

    def _follow_from(self, moves: list[Move]) -> None:
        kinds = self._follow_by_statements(Kinds.of(moves))
        rules = consequences.of(self._connection, moves, kinds, self._now)
        self._load(rules)
        for key, several in rules.items():
            for rule in several:
                if rule is not frame_rules.revive or self.job(key[0]).state is not JobState.CANCELLED:
                    self._set(self._frames[key].frame, rule(self._frames[key].frame))

    def _follow_by_statements(self, kinds: Kinds) -> Kinds:
        """Let frames follow where they are very many; what is left is followed frame by frame.

        They must not have been loaded, but for those that wait for what has become done.
        """
        connection, loaded = self._connection, [stored for stored in self._frames.values() if stored.needs]
        if dependencies.are_many(connection, kinds.done, MANY, None):
            self._cascaded(cascades.release(connection, kinds.done, [_key(one) for one in loaded]))
            own = dependencies.dependents(connection, kinds.done, [_key(one) for one in loaded])
            for key, count in own.items():
                self._set(self._frames[key].frame, frame_rules.need_done(self._frames[key].frame, count))
            kinds = replace(kinds, done=())
        if not any(one.frame.state is FrameState.BLOCKED for one in loaded):
            away = far.every(connection) if kinds.failing else {}
            if not any(job in away for job, _ in kinds.failing) and dependencies.are_many(
                connection, kinds.failing, MANY, dependencies.WAITING
            ):
                server = identity.stored_name(connection) or ""
                self._cascaded(cascades.starve(connection, kinds.failing, server, self._now))
                kinds = replace(kinds, failing={})
        if not any(one.frame.starved for one in loaded) and dependencies.are_many(
            connection, kinds.mended, MANY, dependencies.STARVED
        ):
            moved = cascades.revive(connection, kinds.mended)
            self._cascaded(moved)
            kinds = replace(kinds, mended=())
            for job in moved:
                self.settle(job, -1, 2**63 - 1)
        return kinds

    def _cascaded(self, moved: Moved) -> None:
        for job, counts in moved.items():
            self._moved[job].update(counts)

    def _moves(self, followed: dict[Key, FrameState]) -> list[Move]:
        """The frames whose state others may have to follow; `followed` holds the states of earlier calls."""
        needed = {job for job in {key[0] for key in self._before} if self.job(job).needed}
        moves = []
        for key, frame in self._before.items():
            after = self._frames[key].frame.state
            if key[0] in needed or after is FrameState.BLOCKED:
                before = followed.get(key, frame.state)
                if before is not after:
                    followed[key] = after
                    moves.append(Move(key=key, before=before, after=after, needed=key[0] in needed))
        return moves

    def _save_counts(self) -> None:
        moves: defaultdict[int, Counter[FrameState]] = defaultdict(Counter)
        for key, before in self._before.items():
            moves[key[0]][before.state] -= 1
            moves[key[0]][self._frames[key].frame.state] += 1
        for job, counted in self._moved.items():
            moves[job].update(counted)
        for job, delta in moves.items():
            record = self.job(job)
            counts = Counts({state: record.counts[state] + delta[state] for state in FrameState})
            if any(delta.values()) or job in self._gave_files:
                job_rows.set_counts(self._connection, job, counts, next_file=record.next_file)
            self._jobs[job] = replace(record, counts=counts)
            self._changed_jobs[job] = None
            state = outcome(record.state, counts)
            if state is not record.state:
                self._set_job(job, state)

    def _new_files(self, job: int) -> int:
        """Ids for the result and the log of a new attempt: the first of the two. They are never given again."""
        record = self.job(job)
        self._jobs[job] = replace(record, next_file=record.next_file + 2)
        self._gave_files.add(job)
        return record.next_file

    def _end_attempt(
        self,
        token: str,
        state: AttemptState,
        *,
        seconds: float | None = None,
        log: bytes | None = None,
        reason: str | None = None,
        memory: int = 0,
        processor: float | None = None,
        result: Blob | None = None,
    ) -> None:
        if token not in self._attempts:
            self._attempts.update(attempt_rows.load(self._connection, {token}))
        record = self._attempts.get(token)
        if record is None or (record.state is not AttemptState.RENDERING and state is AttemptState.LOST):
            return
        self._attempts[token] = replace(
            record,
            state=state,
            ended=self._now,
            seconds=seconds,
            log=log or None,
            reason=reason,
            memory=memory or None,
            processor=processor,
            result=None if result is None else result.digest,
            result_size=None if result is None else result.size,
        )
        self._touched[token] = None


def _no_job(number: int) -> NotFound:
    return NotFound(f"there is no job {number}: 'distren jobs' lists the jobs")


def _key(stored: Stored) -> Key:
    return stored.frame.job, stored.frame.id
