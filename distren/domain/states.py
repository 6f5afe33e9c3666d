"""The states of a frame and of a job, and which may follow which."""

from __future__ import annotations

from enum import StrEnum

from distren.errors import Conflict


class FrameState(StrEnum):
    BLOCKED = "blocked"  #: waits for another frame
    READY = "ready"  #: may be rendered now, waits in the database for its turn
    QUEUED = "queued"  #: published to the broker, waits for a free slot
    RENDERING = "rendering"  #: a worker renders it
    DONE = "done"  #: its result is recorded
    FAILED = "failed"  #: its attempts ran out, or a frame that it needs failed
    CANCELLED = "cancelled"  #: somebody called it off


class JobState(StrEnum):
    ACTIVE = "active"  #: has frames to render
    PAUSED = "paused"  #: keeps its frames back until it is resumed
    DONE = "done"  #: every frame is done
    FAILED = "failed"  #: nothing is left to render and at least one frame failed
    CANCELLED = "cancelled"  #: somebody called it off


class AttemptState(StrEnum):
    RENDERING = "rendering"  #: under way
    DONE = "done"  #: its result is the one recorded
    FAILED = "failed"  #: ended with a reason
    LOST = "lost"  #: its worker went away, or another worker took the frame over
    DROPPED = "dropped"  #: its result came after another one, or after the frame was called off


_F = FrameState
NEXT: dict[FrameState, frozenset[FrameState]] = {
    _F.BLOCKED: frozenset({_F.READY, _F.DONE, _F.FAILED, _F.CANCELLED}),
    _F.READY: frozenset({_F.BLOCKED, _F.QUEUED, _F.DONE, _F.FAILED, _F.CANCELLED}),
    _F.QUEUED: frozenset({_F.RENDERING, _F.READY, _F.BLOCKED, _F.DONE, _F.FAILED, _F.CANCELLED}),
    _F.RENDERING: frozenset({_F.QUEUED, _F.DONE, _F.READY, _F.BLOCKED, _F.FAILED, _F.CANCELLED}),
    _F.DONE: frozenset({_F.READY, _F.BLOCKED}),
    _F.FAILED: frozenset({_F.READY, _F.BLOCKED}),
    _F.CANCELLED: frozenset({_F.READY, _F.BLOCKED}),
}
"""What a frame may become. READY → DONE: the result of an earlier issue arrives after the frame was taken back.
READY, BLOCKED → DONE: it was done when another server handed its job over to this one.
READY, QUEUED, RENDERING, DONE → BLOCKED: instead of READY, when a frame that it needs is rendered anew meanwhile.
RENDERING → QUEUED: its worker went away and the broker has put the delivery back into the queue.
DONE, FAILED and CANCELLED lead on only through a retry that somebody asks for."""

_J = JobState
NEXT_JOB: dict[JobState, frozenset[JobState]] = {
    _J.ACTIVE: frozenset({_J.PAUSED, _J.DONE, _J.FAILED, _J.CANCELLED}),
    _J.PAUSED: frozenset({_J.ACTIVE, _J.DONE, _J.FAILED, _J.CANCELLED}),
    _J.DONE: frozenset({_J.ACTIVE}),
    _J.FAILED: frozenset({_J.ACTIVE, _J.CANCELLED}),
    _J.CANCELLED: frozenset({_J.ACTIVE}),
}

FRAME_ENDED = frozenset({_F.DONE, _F.FAILED, _F.CANCELLED})
JOB_ENDED = frozenset({_J.DONE, _J.FAILED, _J.CANCELLED})
ISSUED = frozenset({_F.QUEUED, _F.RENDERING})
"""States of a frame that stands in a queue or in a worker's hands."""


def check(old: FrameState, new: FrameState) -> FrameState:
    """`new`, if a frame in state `old` may become that; raises Conflict otherwise."""
    if new not in NEXT[old]:
        raise Conflict(f"a frame that is {old} can not become {new}")
    return new


def check_job(old: JobState, new: JobState) -> JobState:
    """`new`, if a job in state `old` may become that; raises Conflict otherwise."""
    if new not in NEXT_JOB[old]:
        raise Conflict(f"a job that is {old} can not become {new}")
    return new
