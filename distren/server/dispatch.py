"""Decides which ready frame is published to which class, and when: a window of work, never the backlog.

A class's window is what its workers take at once plus about a second of work, so that no slot waits for the server
while the order of all other frames stays in the database, where priority, pause and cancel act on it at once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection

from distren.amqp.topology import FRAMES
from distren.domain import poison
from distren.domain.frame import Frame
from distren.domain.groups import Group, Work
from distren.domain.job import Blob
from distren.domain.poison import Lost
from distren.domain.states import AttemptState, FrameState
from distren.server.fleet import Fleet, WorkerClass
from distren.server.lifecycle import Lifecycle
from distren.storage import attempts as attempt_rows
from distren.storage import dependencies, groups
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage.attempts import AttemptRecord
from distren.storage.dependencies import Key
from distren.storage.frames import Stored
from distren.storage.jobs import Job
from distren.wire import fields
from distren.wire.frames import LEAVES, OutputFile, Render

log = logging.getLogger(__name__)

AHEAD = 1.0
"""seconds of work that a queue holds beyond what its workers have taken"""
_LARGEST_WINDOW = 5_000
_MOST_AVOIDED = 4
"""workers: each that leaves a frame to others uses up some of the deliveries that a queue allows (20)"""

Owing = tuple[str, str, bytes]
"""exchange, routing key and body of a message that the transaction owes to the broker"""


def window(one: WorkerClass, rate: float) -> int:
    """How many frames may be issued to a class at a time, at `rate` frames per second."""
    ahead = max(one.slots, math.ceil(rate * AHEAD))
    return min(one.room + ahead, _LARGEST_WINDOW)


def fill(
    connection: Connection,
    lifecycle: Lifecycle,
    fleet: Fleet,
    *,
    now: float,
    steady: float,
    kills: int = 3,
    settled: bool = True,
) -> list[Owing]:
    """Issue ready frames to every class whose window has room; returns the messages.

    `now` is wall-clock time (retries are due by it), `steady` the fleet's clock, both in seconds. A frame that has
    ended `kills` workers fails instead, unless the fleet is not `settled`: then some may only not have reported yet.
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
        for lane, renderer in enumerate(job.lanes):
            able = [queue for queue, one in classes.items() if free[queue] > 0 and _can(one, job.pool, renderer)]
            if not able:
                continue
            limit = sum(free[queue] for queue in able)
            ready = frame_rows.ready(connection, job.id, lane=lane, now=now, limit=limit)
            differing = groups.load(connection, job.id, {one.group for one in ready if one.group is not None})
            for stored in ready:
                queue = max(able, key=lambda name: free[name])
                past = _past(connection, stored)
                if settled and (reason := poison.verdict(_lost(past, fleet, steady), kills)) is not None:
                    log.warning("frame given up: %s", reason, extra={"job": job.id, "frame": stored.frame.id})
                    lifecycle.give_up(stored, reason)
                    continue
                free[queue] -= 1
                avoid = _avoid(past, fleet, queue, steady)
                needs = dependencies.results(connection, job.id, stored.frame.id) if stored.needs else ()
                work = _work(job, stored, differing)
                render = message(job, lifecycle.issue(stored, queue), needs, work, avoid, kills)
                owing.append((FRAMES, queue, render.encode()))
        if all(room <= 0 for room in free.values()):
            break
    return owing


def _can(one: WorkerClass, pool: str, renderer: str) -> bool:
    return one.pool == pool and renderer in one.renderers


def _work(job: Job, stored: Stored, differing: Mapping[int, Group]) -> Work:
    """What is to be done for a frame, which may be in a group."""
    return job.work if stored.group is None else differing[stored.group].over(job.work)


def _past(connection: Connection, stored: Stored) -> list[AttemptRecord]:
    """The attempts that say something about the next one."""
    frame = stored.frame
    return attempt_rows.earlier(connection, frame.job, frame.id, after=frame.pardoned) if stored.attempts else []


def _lost(past: Iterable[AttemptRecord], fleet: Fleet, steady: float) -> Iterator[Lost]:
    for one in past:
        if one.state is AttemptState.LOST:
            gone = fleet.is_gone(one.worker, one.started, steady)
            yield Lost(worker=one.worker, gone=gone, reason=one.reason)


def _avoid(past: Iterable[AttemptRecord], fleet: Fleet, queue: str, steady: float) -> list[str]:
    """The workers that have failed a frame, as long as there are others of the class."""
    failed = {one.worker for one in past if one.state is AttemptState.FAILED}
    there = {one.worker for one in fleet.alive(steady) if one.queue == queue and one.state == "working"}
    return sorted(failed & there)[:_MOST_AVOIDED] if there - failed else []


def message(
    job: Job,
    frame: Frame,
    needs: Iterable[tuple[Key, Blob]] = (),
    work: Work | None = None,
    avoid: Sequence[str] = (),
    kills: int = 3,
) -> Render:
    """What a worker needs to know to render `frame`, which needs the results of others; `work` is the job's if None."""
    work = work or job.work
    outputs = (output.of(frame.id) for output in work.outputs)
    return Render(
        job=job.id,
        frame=frame.id,
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
        avoid=list(avoid),
        returns=kills + LEAVES * len(avoid),
    )
