"""Changes the states of frames and jobs: the only code that does. One object lives for one transaction.

Rows are read, pure functions of `distren.domain` decide what becomes of them, and `save` (server/changes.py) lets the
frames that need others follow, and writes the outcome with the attempts, the jobs' counts and their states.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement

from distren.domain import frame as frame_rules
from distren.domain.frame import Attempt, Frame
from distren.domain.job import Blob
from distren.domain.retries import retry_at
from distren.domain.states import ISSUED, JOB_ENDED, AttemptState, FrameState, JobState, check_job
from distren.errors import Conflict
from distren.server.changes import Changes
from distren.storage import attempts as attempt_rows
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage import mass
from distren.storage.attempts import AttemptRecord
from distren.storage.frames import Stored
from distren.wire.frames import Completed, Failed, Render, Started

Event = Started | Completed | Failed
_AT_ONCE = 5_000
"""frames that are read at a time"""


class Lifecycle(Changes):
    """The frames and jobs that one transaction works on."""

    # -- what workers say --------------------------------------------------------------------------------------------

    def apply(self, events: Collection[Event]) -> None:
        """Apply what workers say, in the order in which it arrived; what is late or unknown changes nothing."""
        self._load((event.job, event.frame) for event in events)
        self._attempts.update(attempt_rows.load(self._connection, {event.token for event in events}))
        for event in events:
            stored = self._frames.get((event.job, event.frame))
            if stored is None or self._is_over(event.token):
                continue
            attempt = Attempt(issue=event.issue, token=event.token, worker=event.worker, started=event.started)
            self._hear_of(stored, attempt)
            if isinstance(event, Started):
                self._set(stored.frame, frame_rules.started(stored.frame, attempt))
            elif isinstance(event, Completed):
                self._complete(stored.frame, attempt, event)
            else:
                self._fail(stored.frame, attempt, event)

    def _is_over(self, token: str) -> bool:
        """Whether the attempt has said its last word: whatever comes again is a repetition."""
        known = self._attempts.get(token)
        return known is not None and known.state in (AttemptState.DONE, AttemptState.DROPPED, AttemptState.FAILED)

    def _hear_of(self, stored: Stored, attempt: Attempt) -> None:
        """Number an attempt that is new; the frame's attempt until then is lost if it was under way."""
        frame = stored.frame
        if attempt.token in self._attempts:
            return
        number = stored.attempts + 1
        self._frames[frame.job, frame.id] = stored.become(frame, attempts=number)
        self._before.setdefault((frame.job, frame.id), frame)
        self._new[attempt.token] = None
        self._attempts[attempt.token] = AttemptRecord(
            token=attempt.token,
            job=frame.job,
            frame=frame.id,
            number=number,
            issue=attempt.issue,
            worker=attempt.worker,
            state=AttemptState.RENDERING,
            started=attempt.started,
            file=self._new_files(frame.job),
        )
        if frame.token is not None and attempt.issue == frame.issue:
            self._end_attempt(frame.token, AttemptState.LOST, reason="another worker took the frame over")

    def _complete(self, frame: Frame, attempt: Attempt, event: Completed) -> None:
        warning = "; ".join(event.warnings) or None
        after = frame_rules.completed(frame, attempt, event.result.value(), self._now, warning=warning)
        won = after is not frame
        state = AttemptState.DONE if won else AttemptState.DROPPED
        if won and frame.queue is not None:
            self._finished[frame.queue] += 1
        if frame.token not in (None, event.token):
            self._end_attempt(frame.token, AttemptState.LOST, reason="another worker was faster")
        result = event.result.value() if won else None
        self._end_attempt(event.token, state, reason=warning, result=result, **_used(event))
        self._set(frame, after)

    def _fail(self, frame: Frame, attempt: Attempt, event: Failed) -> None:
        self._end_attempt(event.token, AttemptState.FAILED, reason=event.reason, **_used(event))
        again = retry_at(
            failures=frame.failures + 1,
            attempts=self.job(frame.job).attempts,
            permanent=event.permanent,
            now=self._now,
            jitter=random.random(),
        )
        after = frame_rules.failed(frame, attempt, event.reason, retry_at=again, now=self._now)
        if after is not frame and again is not None:
            self._retries.append(again)
        self._set(frame, after)

    def bring(self, job: int, done: Collection[tuple[AttemptRecord, Blob]], *, next_file: int) -> None:
        """The job was begun at another server: these attempts gave these results there.

        `next_file` is the file id that it would have given next: so the ids of its files stay what they were.
        """
        self._load((job, attempt.frame) for attempt, _ in done)
        for record, result in done:
            stored = self._frames.get((job, record.frame))
            if stored is None:
                continue
            self._attempts[record.token] = record
            self._new[record.token] = None
            self._frames[job, record.frame] = stored.become(stored.frame, attempts=record.number)
            attempt = Attempt(issue=0, token=record.token, worker=record.worker, started=record.started)
            ended = self._now if record.ended is None else record.ended
            after = frame_rules.brought(stored.frame, attempt, result, ended, warning=record.reason)
            self._set(stored.frame, after)
        self._jobs[job] = replace(self.job(job), next_file=max(self.job(job).next_file, next_file))
        self._gave_files.add(job)

    def come_back(self, render: Render, reason: str, *, settle: float) -> None:
        """This issue of a frame has come back too often; in `settle` seconds it is clear what became of its workers."""
        self._load([(render.job, render.frame)])
        stored = self._frames.get((render.job, render.frame))
        if stored is None:
            return
        frame = stored.frame
        more = frame.failures + 1 < self.job(frame.job).attempts
        again = self._now + settle if more else None
        after = frame_rules.returned(frame, render.issue, reason, retry_at=again, now=self._now)
        if after is frame:
            return
        if frame.token is not None:
            self._end_attempt(frame.token, AttemptState.LOST, reason=reason)
        if again is not None:
            self._retries.append(again)
        self._set(frame, after)

    def fail_far(self, job: int, frame: int, reason: str) -> None:
        """A frame that stands for one of another server has failed there."""
        self._load([(job, frame)])
        stored = self._frames.get((job, frame))
        if stored is not None:
            self._set(stored.frame, frame_rules.fail_far(stored.frame, reason, self._now))

    # -- what the server decides -------------------------------------------------------------------------------------

    def issue(self, stored: Stored, queue: str) -> Frame:
        """Issue a ready frame to a queue; the caller owes the broker the message in the same transaction."""
        key = (stored.frame.job, stored.frame.id)
        stored = self._frames.setdefault(key, stored)
        self._set(stored.frame, frame_rules.issued(stored.frame, queue))
        return self._frames[key].frame

    def give_up(self, stored: Stored, reason: str) -> None:
        """A ready frame has ended too many workers."""
        key = (stored.frame.job, stored.frame.id)
        frame = self._frames.setdefault(key, stored).frame
        self._set(frame, frame_rules.poisoned(frame, reason, self._now))

    def take_back(self, stored: Stored, reason: str) -> None:
        """Nobody holds this frame any more."""
        self._withdraw(stored, lambda frame: frame_rules.taken_back(frame, reason), reason)

    def requeue(self, stored: Stored, reason: str) -> None:
        """The frame's worker is gone; the broker has put its delivery back."""
        self._withdraw(stored, lambda frame: frame_rules.requeued(frame, reason), reason)

    def _withdraw(self, stored: Stored, rule: Callable[[Frame], Frame], reason: str) -> None:
        key = (stored.frame.job, stored.frame.id)
        frame = self._frames.setdefault(key, stored).frame
        if frame.token is not None:
            self._end_attempt(frame.token, AttemptState.LOST, reason=reason)
        self._set(frame, rule(frame))

    # -- what people ask for -----------------------------------------------------------------------------------------

    def cancel(self, job: int, wanted: Iterable[range]) -> None:
        """Call some frames of a job off; what has ended stays as it is."""
        self._each(job, wanted, self.cancelled)

    def cancelled(self, frame: Frame) -> Frame:
        """The frame, called off now."""
        return frame_rules.cancelled(frame, self._now)

    def cancel_many(self, job: int, part: ColumnElement[bool]) -> list[int]:
        """Call frames off that `part` chooses, by a few statements; those that were issued are returned.

        What follows for the job's own frames is not looked after: all of them are called off, or none needs another.
        """
        issued = frame_rows.chosen(self._connection, job, part, ISSUED)
        self.apply_to(issued, self.cancelled)
        self._moved_many(job, part, mass.cancel(self._connection, job, part, self._now), {FrameState.CANCELLED: None})
        return [stored.frame.id for stored in issued]

    def retry_many(self, job: int, part: ColumnElement[bool], states: Collection[FrameState]) -> None:
        """Open frames again that `part` chooses and that have ended in such a state, by a few statements.

        What follows for the job's own frames is not looked after: `settle` them, unless none needs another.
        """
        found, waiting = mass.retry(self._connection, job, part, states)
        self._moved_many(job, part, found, {FrameState.BLOCKED: waiting, FrameState.READY: None})

    def apply_to(self, several: Iterable[Stored], rule: Callable[[Frame], Frame]) -> None:
        """Change each of these frames by a rule."""
        for stored in several:
            frame = self._frames.setdefault((stored.frame.job, stored.frame.id), stored).frame
            self._set(frame, rule(frame))

    def end(self, job: int) -> None:
        """Call the job off; what becomes of its frames is the caller's. Raises Conflict where it has ended."""
        self._set_job(job, check_job(self.job(job).state, JobState.CANCELLED))

    def open(self, job: int) -> None:
        """Frames of the job are to be rendered again."""
        if self.job(job).state in JOB_ENDED:
            self._set_job(job, JobState.ACTIVE)

    def call_off(self, job: int) -> None:
        """End a job without looking at its frames: it is being deleted."""
        if self.job(job).state not in JOB_ENDED:
            self.end(job)

    def retry(self, job: int, wanted: Iterable[range]) -> None:
        """Render some frames of a job again, whatever became of them."""
        self._each(job, wanted, frame_rules.retried)
        self.open(job)

    def pause(self, job: int) -> None:
        """Keep the job's frames back; those that are rendered now finish."""
        self._set_job(job, check_job(self.job(job).state, JobState.PAUSED))

    def resume(self, job: int) -> None:
        self._set_job(job, check_job(self.job(job).state, JobState.ACTIVE))

    def set_priority(self, job: int, priority: int) -> None:
        if self.job(job).state in JOB_ENDED:
            raise Conflict(f"job {job} has ended: its priority changes nothing any more")
        job_rows.set_priority(self._connection, job, priority)
        self._jobs[job] = replace(self.job(job), priority=priority)
        self._changed_jobs[job] = None

    def _each(self, job: int, wanted: Iterable[range], rule: Callable[[Frame], Frame]) -> None:
        cursor = mass.Cursor(job, wanted, None)
        while (found := cursor.next(self._connection, _AT_ONCE)) is not None:
            self.apply_to(frame_rows.chosen(self._connection, job, found[0]), rule)
        if job not in self._changed_jobs and not any(key[0] == job for key in self._before):
            raise nothing_to_change(job, named=True)


def nothing_to_change(job: int, *, named: bool) -> Conflict:
    """The error for a change that would change no frame."""
    return Conflict(f"job {job} has no frame{' among those named' if named else ''} that this would change")


def _used(event: Completed | Failed) -> dict[str, Any]:
    """What an attempt has said and used, as its record holds it."""
    return {"seconds": event.seconds, "log": event.log, "memory": event.memory, "processor": event.processor}
