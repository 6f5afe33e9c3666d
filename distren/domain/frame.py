"""One frame, and what happens to it: pure functions from a frame and an event to the frame that it becomes.

An *issue* is one publishing of the frame to a queue, numbered per frame. A broker may deliver one issue to several
workers, one after the other, when the first goes away; each worker's try is an *attempt* with a token of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from distren.domain.job import Blob
from distren.domain.states import FRAME_ENDED, ISSUED, FrameState, check
from distren.errors import Conflict


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame's record. Times are seconds since 1970, UTC.

    `reason` says why it has failed, or is tried again; of one that is done it is what somebody should look at.
    `waits_for` is how many of the frames that it needs are not done; `starved` says that it failed only because one
    of them failed or was called off. Workers that issues up to `pardoned` have ended no longer speak against the frame.
    """

    job: int
    id: int
    state: FrameState = FrameState.READY
    issue: int = 0
    failures: int = 0
    queue: str | None = None
    worker: str | None = None
    token: str | None = None
    started: float | None = None
    ended: float | None = None
    result: Blob | None = None
    reason: str | None = None
    not_before: float = 0.0
    waits_for: int = 0
    starved: bool = False
    pardoned: int = 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What a worker says of the attempt that an event is about."""

    issue: int
    token: str
    worker: str
    started: float


def issued(frame: Frame, queue: str) -> Frame:
    """The frame is published to `queue`; raises Conflict for one that is not ready."""
    if frame.state is not FrameState.READY:
        raise Conflict(f"a frame that is {frame.state} can not be issued")
    state = check(frame.state, FrameState.QUEUED)
    reason = frame.reason if frame.failures else None  # why it is tried again
    return replace(frame, state=state, issue=frame.issue + 1, queue=queue, worker=None, token=None, reason=reason)


def started(frame: Frame, attempt: Attempt) -> Frame:
    """A worker has begun; the last one to say so for the current issue is the one that renders it.

    Late news of an earlier issue, or of a frame that has ended, changes nothing.
    """
    if frame.state not in ISSUED or attempt.issue != frame.issue:
        return frame
    return replace(
        frame, state=FrameState.RENDERING, worker=attempt.worker, token=attempt.token, started=attempt.started
    )


def completed(frame: Frame, attempt: Attempt, result: Blob, now: float, *, warning: str | None = None) -> Frame:
    """A valid result has arrived: the first one wins, whichever issue it is of; any other changes nothing."""
    if frame.state in FRAME_ENDED or frame.state is FrameState.BLOCKED:
        return frame
    return _done(frame, attempt, result, now, warning)


def brought(frame: Frame, attempt: Attempt, result: Blob, ended: float, *, warning: str | None = None) -> Frame:
    """It was done at another server, which has handed its job over; whether what it needs is here does not matter."""
    if frame.state not in (FrameState.READY, FrameState.BLOCKED):
        return frame
    return _done(frame, attempt, result, ended, warning)


def _done(frame: Frame, attempt: Attempt, result: Blob, ended: float, warning: str | None) -> Frame:
    return replace(
        frame,
        state=check(frame.state, FrameState.DONE),
        worker=attempt.worker,
        token=attempt.token,
        started=attempt.started,
        ended=ended,
        result=result,
        reason=warning,
        queue=None,
    )


def failed(frame: Frame, attempt: Attempt, reason: str, *, retry_at: float | None, now: float) -> Frame:
    """An attempt has failed: the frame is ready again at `retry_at`, or has failed where that is None.

    Failures of an earlier issue, or of an attempt that another worker has taken over, change nothing.
    """
    stale = frame.state not in ISSUED or attempt.issue != frame.issue or frame.token not in (None, attempt.token)
    if stale:
        return frame
    frame = replace(frame, failures=frame.failures + 1, worker=attempt.worker, reason=reason, queue=None)
    if retry_at is None:
        state = check(frame.state, FrameState.FAILED)
        return replace(frame, state=state, started=attempt.started, ended=now, token=attempt.token)
    return replace(frame, state=_open(frame), not_before=retry_at, started=None, token=None)


def requeued(frame: Frame, reason: str) -> Frame:
    """Its worker went away, and the broker has put the delivery back into the queue: the same issue waits again."""
    if frame.state is not FrameState.RENDERING:
        return frame
    state = check(frame.state, FrameState.QUEUED)
    return replace(frame, state=state, worker=None, token=None, started=None, reason=reason)


def returned(frame: Frame, issue: int, reason: str, *, retry_at: float | None, now: float) -> Frame:
    """This issue has come back from too many workers, which counts as a failure: it is tried again at `retry_at`.

    Until then it is clear what became of those workers. None: it fails.
    """
    if frame.state not in ISSUED or frame.issue != issue:
        return frame
    frame = replace(frame, failures=frame.failures + 1)
    if retry_at is None:
        return replace(frame, state=check(frame.state, FrameState.FAILED), ended=now, reason=reason, queue=None)
    return replace(taken_back(frame, reason), not_before=retry_at)


def poisoned(frame: Frame, reason: str, now: float) -> Frame:
    """The frame has ended too many workers: it fails for good."""
    if frame.state is not FrameState.READY:
        return frame
    return replace(frame, state=check(frame.state, FrameState.FAILED), ended=now, reason=reason)


def taken_back(frame: Frame, reason: str) -> Frame:
    """Nobody holds the frame any more: it is ready to be issued again, without a failure counted."""
    if frame.state not in ISSUED:
        return frame
    return replace(frame, state=_open(frame), queue=None, worker=None, token=None, started=None, reason=reason)


def cancelled(frame: Frame, now: float) -> Frame:
    """The frame is called off, unless it has ended."""
    if frame.state in FRAME_ENDED:
        return frame
    return replace(frame, state=check(frame.state, FrameState.CANCELLED), ended=now, queue=None)


def retried(frame: Frame) -> Frame:
    """Somebody wants the frame rendered again, whatever became of it; what is under way goes on."""
    if frame.state not in FRAME_ENDED:
        return replace(frame, not_before=0.0)
    return replace(
        frame,
        state=_open(frame),
        starved=False,
        failures=0,
        queue=None,
        worker=None,
        token=None,
        started=None,
        ended=None,
        result=None,
        reason=None,
        not_before=0.0,
        pardoned=frame.issue,
    )


def need_done(frame: Frame, count: int) -> Frame:
    """`count` of the frames that it needs have become done; with the last one it is ready."""
    frame = replace(frame, waits_for=frame.waits_for - count)
    if frame.state is not FrameState.BLOCKED or frame.waits_for:
        return frame
    return replace(frame, state=check(frame.state, FrameState.READY))


def need_withdrawn(frame: Frame, count: int) -> Frame:
    """`count` of the frames that it needs are done no more: somebody wants them rendered again.

    It waits for them if it has not been issued yet; what is under way has its results, and what is done stays done.
    """
    frame = replace(frame, waits_for=frame.waits_for + count)
    if frame.state is not FrameState.READY:
        return frame
    return replace(frame, state=check(frame.state, FrameState.BLOCKED))


def starve(frame: Frame, reason: str, now: float) -> Frame:
    """A frame that it needs has failed or was called off: so has this one, if it waits."""
    if frame.state is not FrameState.BLOCKED:
        return frame
    return replace(frame, state=check(frame.state, FrameState.FAILED), starved=True, ended=now, reason=reason)


def fail_far(frame: Frame, reason: str, now: float) -> Frame:
    """The frame stands for one of another server, which has failed there."""
    if frame.state is not FrameState.READY:
        return frame
    return replace(frame, state=check(frame.state, FrameState.FAILED), ended=now, reason=reason)


def revive(frame: Frame) -> Frame:
    """What it failed for is tried again: it waits again."""
    return retried(frame) if frame.state is FrameState.FAILED and frame.starved else frame


def _open(frame: Frame) -> FrameState:
    """What a frame becomes that is to be rendered now or later."""
    return check(frame.state, FrameState.BLOCKED if frame.waits_for else FrameState.READY)
