"""Decides which ready frame is published to which class, and when: a window of work, never the backlog.

A class's window is what its workers take at once plus about a second of work, so that no slot waits for the server
while the order of all other frames stays in the database, where priority, pause and cancel act on it at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection

from distren.amqp.topology import FRAMES
from distren.domain.frame import Frame
from distren.domain.groups import Group, Work
from distren.domain.job import Blob
from distren.domain.states import FrameState
from distren.server.fleet import Fleet, WorkerClass
from distren.server.judge import Judge
from distren.server.lifecycle import Lifecycle
from distren.storage import dependencies, far, groups
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage.dependencies import Key
from distren.storage.far import FarJob
from distren.storage.frames import Stored
from distren.storage.jobs import Job
from distren.wire import fields
from distren.wire.frames import OutputFile, Render

AHEAD = 1.0
"""seconds of work that a queue holds beyond what its workers have taken"""
_LARGEST_WINDOW = 5_000
LENT = "lent"
"""stands for an exchange where a frame is issued to a peer"""
_MOST_NEEDS_LENT = 5_000
"""frames that need more are not lent: the message would be too large"""

Owing = tuple[str, str, bytes]
"""exchange, routing key and body of a message that the transaction owes to the broker"""


class Lending(Protocol):
    """What dispatch asks about peers; `guests` are jobs that hold frames of theirs."""

    @property
    def guests(self) -> Collection[int]: ...

    def is_willing(self, connection: Connection, queue: str, job: Job, renderer: str) -> bool: ...

    def describe(self, connection: Connection, job: int, ids: Iterable[int]) -> Mapping[int, Render]: ...


def window(one: WorkerClass, rate: float | None) -> int:
    """How many frames may be issued to a class at a time, at `rate` frames per second (None: not known yet).

    No more than it needs: what waits for a slot here could be rendered by a peer.
    """
    ahead = one.slots if rate is None else max(1, math.ceil(rate * AHEAD))
    return min(one.room + ahead, _LARGEST_WINDOW)


def fill(
    connection: Connection,
    lifecycle: Lifecycle,
    fleet: Fleet,
    *,
    now: float,
    steady: float,
    judge: Judge,
    lending: Lending | None = None,
) -> list[Owing]:
    """Issue ready frames to every class whose window has room, and then to peers; returns the messages.

    `now` is wall-clock time (retries are due by it), `steady` the fleet's clock, both in seconds. `judge`
    knows what earlier attempts at a frame mean for the next.
    """
    classes = {**fleet.classes(steady), **(fleet.offers if lending is not None else {})}
    if not classes:
        return []
    issued = frame_rows.issued_by_queue(connection)
    free = {
        queue: (one.room if queue in fleet.offers else window(one, fleet.rate(queue, steady))) - issued.get(queue, 0)
        for queue, one in classes.items()
    }
    owing: list[Owing] = []
    if not any(room > 0 for room in free.values()):
        return owing
    for job in job_rows.in_turn(connection):
        if not job.counts[FrameState.READY]:
            continue
        lifecycle.know(job)
        for lane, capability in enumerate(job.lanes):
            able = [queue for queue, one in classes.items() if free[queue] > 0 and _can(one, job.pool, capability)]
            if lending is not None:
                able = [q for q in able if q not in fleet.offers or lending.is_willing(connection, q, job, capability)]
            limit = sum(free[queue] for queue in able)
            ready = frame_rows.ready(connection, job.id, lane=lane, now=now, limit=limit) if able else []
            describe = _Describer(connection, job, ready, lending)
            for stored in ready:
                queue = _choose(able, free, fleet.offers, stored)
                if queue is None or judge.gives_up(stored):
                    continue
                free[queue] -= 1
                advice = judge.advice(stored, queue)
                render = describe(lifecycle.issue(stored, queue), stored).model_copy(update=advice)
                owing.append((LENT if queue in fleet.offers else FRAMES, queue, render.encode()))
        if all(room <= 0 for room in free.values()):
            break
    return owing


def _choose(able: Iterable[str], free: Mapping[str, int], offers: Collection[str], stored: Stored) -> str | None:
    """The queue with most room, of our own ones where any has; None where the frame fits into no other."""
    own = [queue for queue in able if free[queue] > 0 and queue not in offers]
    if not own and stored.needs <= _MOST_NEEDS_LENT:
        own = [queue for queue in able if free[queue] > 0]
    return max(own, key=lambda name: free[name], default=None)


class _Describer:
    """Makes the messages for frames of a job, which may be a peer's."""

    def __init__(self, connection: Connection, job: Job, several: Sequence[Stored], lending: Lending | None) -> None:
        self._connection, self._job = connection, job
        self._groups = groups.load(connection, job.id, {one.group for one in several if one.group is not None})
        self._lent: Mapping[int, Render] = {}
        if lending is not None and job.id in lending.guests:
            self._lent = lending.describe(connection, job.id, [one.frame.id for one in several])

    def __call__(self, issued: Frame, stored: Stored) -> Render:
        if issued.id in self._lent:
            return self._lent[issued.id].model_copy(update={"issue": issued.issue})
        needs = dependencies.results(self._connection, self._job.id, issued.id) if stored.needs else ()
        render = message(self._job, issued, needs, _work(self._job, stored, self._groups))
        return render if not needs else _place(render, far.every(self._connection))


def _place(render: Render, away: Mapping[int, FarJob]) -> Render:
    """Results of other servers' frames have places that name the server."""
    placed = [
        (f"{away[job].peer}/{away[job].of_job}/frame/{frame}", digest, size)
        for job, frame, digest, size in render.needs
        if job in away
    ]
    if not placed:
        return render
    return render.model_copy(update={"needs": [one for one in render.needs if one[0] not in away], "placed": placed})


def _can(one: WorkerClass, pool: str, capability: str) -> bool:
    return one.pool == pool and capability in one.renderers


def _work(job: Job, stored: Stored, differing: Mapping[int, Group]) -> Work:
    """What is to be done for a frame, which may be in a group."""
    return job.work if stored.group is None else differing[stored.group].over(job.work)


def message(job: Job, frame: Frame, needs: Iterable[tuple[Key, Blob]] = (), work: Work | None = None) -> Render:
    """What a worker needs to know to render `frame`, which needs the results of others; `work` is the job's if None."""
    work = work or job.work
    number = frame.id - work.offset
    outputs = (output.of(number) for output in work.outputs)
    return Render(
        job=job.id,
        frame=frame.id,
        number=number if work.offset else None,
        issue=frame.issue,
        renderer=work.renderer,
        manifest=fields.Blob.of(job.manifest),
        first=job.first,
        last=job.last,
        width=job.width,
        height=job.height,
        settings=dict(work.settings),
        content=list(work.content),
        outputs=[OutputFile(path=one.path, image=one.image, width=one.width, height=one.height) for one in outputs],
        time_limit=job.time_limit,
        silence_limit=job.silence_limit,
        memory_limit=job.memory_limit,
        output_limit=job.output_limit,
        needs=[(*key, blob.digest, blob.size) for key, blob in needs],
    )
