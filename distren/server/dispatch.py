"""Decides which ready frame is published to which class, and when: a window of work, never the backlog.

A class's window is what its workers take at once plus about a second of work, so that no slot waits for the server
while the order of all other frames stays in the database, where priority, pause and cancel act on it at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from distren.amqp.topology import FRAMES
from distren.domain.frame import Frame
from distren.domain.groups import Group, Work
from distren.domain.job import Blob
from distren.domain.states import FrameState
from distren.server.fleet import Fleet, WorkerClass
from distren.server.lifecycle import Lifecycle
from distren.storage import dependencies, groups
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage.dependencies import Key
from distren.storage.frames import Stored
from distren.storage.jobs import Job
from distren.wire import fields
from distren.wire.frames import OutputFile, Render

AHEAD = 1.0
"""seconds of work that a queue holds beyond what its workers have taken"""
_LARGEST_WINDOW = 5_000

Owing = tuple[str, str, bytes]
"""exchange, routing key and body of a message that the transaction owes to the broker"""


def window(one: WorkerClass, rate: float) -> int:
    """How many frames may be issued to a class at a time, at `rate` frames per second."""
    ahead = max(one.slots, math.ceil(rate * AHEAD))
    return min(one.room + ahead, _LARGEST_WINDOW)


def fill(connection: Connection, lifecycle: Lifecycle, fleet: Fleet, *, now: float, steady: float) -> list[Owing]:
    """Issue ready frames to every class whose window has room; returns the messages.

    `now` is wall-clock time (retries are due by it), `steady` the fleet's clock, both in seconds.
    """
    classes = fleet.classes(steady)
    if not classes:
        return []
    issued = frame_rows.issued_by_queue(connection)
    free = {queue: window(one, fleet.rate(queue, steady)) - issued.get(queue, 0) for queue, one in classes.items()}
    owing: list[Owing] = []
    if not any(room > 0 for room in free.values()):
        return owing
    for job in job_rows.in_turn(connection):
        if not job.counts[FrameState.READY]:
            continue
        for lane, capability in enumerate(job.lanes):
            able = [queue for queue, one in classes.items() if free[queue] > 0 and _can(one, job.pool, capability)]
            if not able:
                continue
            limit = sum(free[queue] for queue in able)
            ready = frame_rows.ready(connection, job.id, lane=lane, now=now, limit=limit)
            differing = groups.load(connection, job.id, {one.group for one in ready if one.group is not None})
            for stored in ready:
                queue = max(able, key=lambda name: free[name])
                free[queue] -= 1
                needs = dependencies.results(connection, job.id, stored.frame.id) if stored.needs else ()
                work = _work(job, stored, differing)
                owing.append((FRAMES, queue, message(job, lifecycle.issue(stored, queue), needs, work).encode()))
        if all(room <= 0 for room in free.values()):
            break
    return owing


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
