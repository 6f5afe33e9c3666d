"""Repairs what only a half-made change can have left, at the start and every minute, and says what it repaired.

Transactions leave nothing half-made; a restored copy, an operator's own SQL or a defect of ours may.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection

from distren.domain.progress import Counts, outcome
from distren.domain.states import JOB_ENDED
from distren.storage import audit
from distren.storage import jobs as job_rows
from distren.storage.jobs import Job

log = logging.getLogger(__name__)

EVERY = 60.0
"""seconds"""
_FRAMES = 200_000
"""frames that one look counts at most, so that it takes about 0.1 s; further jobs have their turn next time"""
_LARGE_EVERY = 60
"""rounds through all jobs until those with more frames than that are looked at again: one of a million takes 0.6 s"""


class Repair:
    """Goes through the open jobs, some at a time where there are very many frames."""

    def __init__(self) -> None:
        self._after = -1
        self._next = 0.0
        self._rounds = 0

    def is_due(self, steady: float) -> bool:
        return steady >= self._next

    def run(self, connection: Connection, now: float, steady: float) -> list[str]:
        """Repair; one line for each thing that was wrong."""
        self._next = steady + EVERY
        jobs = {job.id: job for job in self._some(connection)}
        if not jobs:
            return []
        said = [
            f"{count} attempts had no frame any more" for count in [audit.end_attempts(connection, jobs, now)] if count
        ]
        said += [f"{count} frames named a queue in vain" for count in [audit.clear_queues(connection, jobs)] if count]
        for key, count in audit.waits(connection, jobs).items():
            audit.set_waits(connection, key, count)
            said.append(f"{key[0]}/frame/{key[1]} waits for {count} frames")
        said += self._count(connection, jobs, now)
        for line in said:
            log.warning("repaired: %s", line)
        return said

    def _some(self, connection: Connection) -> list[Job]:
        large_too = self._rounds % _LARGE_EVERY == 0
        everything = [job for job in job_rows.open_jobs(connection) if large_too or job.counts.total <= _FRAMES]
        rest = [job for job in everything if job.id > self._after] or everything
        chosen: list[Job] = []
        frames = 0
        for job in rest:
            frames += job.counts.total
            if chosen and frames > _FRAMES:
                break
            chosen.append(job)
        self._after = chosen[-1].id if chosen and chosen[-1] is not rest[-1] else -1
        self._rounds += self._after == -1
        return chosen

    @staticmethod
    def _count(connection: Connection, jobs: dict[int, Job], now: float) -> list[str]:
        said = []
        real = audit.counts(connection, jobs)
        for number, job in jobs.items():
            counts = Counts(real.get(number, {}))
            if {state: count for state, count in job.counts.by_state.items() if count} != dict(counts.by_state):
                job_rows.set_counts(connection, number, counts, next_file=job.next_file)
                said.append(f"job {number} counted its frames wrongly")
            if (state := outcome(job.state, counts)) is not job.state:
                job_rows.set_state(connection, number, state, now if state in JOB_ENDED else None)
                said.append(f"job {number} is {state}")
        return said
