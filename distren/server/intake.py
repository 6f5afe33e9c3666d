"""Takes a job in whose seed is good: its renderers must be known, and then it is written, a large one in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from sqlalchemy import Connection

from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.errors import RendererUnavailable
from distren.renderers import registry
from distren.renderers.work import capability_of, check_allowed, works
from distren.server.fleet import Fleet
from distren.server.lifecycle import Lifecycle
from distren.server.seeds import Seed
from distren.storage import dependencies
from distren.storage import jobs as job_rows
from distren.storage.newjobs import PART, NewJob
from distren.wire.jobs import Submit


def check_renderers(spec: JobSpec, fleet: Fleet, now: float) -> None:
    """Raise RendererUnavailable for a renderer that nobody knows, JobFileError for what its workers do not allow."""
    known = sorted({*registry.installed(), *fleet.renderers(now)})
    for renderer in spec.renderers:
        if renderer not in known:
            raise RendererUnavailable(
                f"no renderer is called '{renderer}' here; there are: {', '.join(known) or 'none'}"
            )
    for _, work in works(spec):
        check_allowed(work, fleet.allowed(capability_of(work), spec.pool, now))


_PAGE = 10_000
"""frames needed by those of one part that is settled"""
Resolve = Callable[[Connection, Iterable[Needs]], tuple[Needs, ...]]
"""puts jobs that are here in place of those of other servers"""


class Taking:
    """Takes a job in whose seed is good, in parts, each of which is a transaction of its own.

    Nobody sees the job before its last part. `job` is its number from the first part on, `frames` how many it has at
    the end. Raises NotFound where a frame needs one that is not there.
    """

    def __init__(self, key: str, seed: Seed, now: float, resolve: Resolve = lambda _, rules: tuple(rules)) -> None:
        self.job = self.frames = 0
        self._key, self._seed, self._now, self._resolve = key, seed, now, resolve
        self._connection: Connection
        self._steps = self._take()

    def part(self, connection: Connection, most: int = PART) -> bool:
        """Write the next part; whether it was the last. A job that is there already with this key is the job."""
        self._connection = connection
        written = 0
        for cost in self._steps:
            written += cost
            if written >= most:
                return False
        known = job_rows.by_key(connection, self._key)
        assert known is not None
        self.job, self.frames = known.id, known.counts.total
        return True

    def _take(self) -> Iterator[int]:
        if job_rows.by_key(self._connection, self._key) is not None:
            return
        spec = replace(self._seed.spec, needs=self._resolve(self._connection, self._seed.spec.needs))
        new = NewJob(spec, manifest=self._seed.manifest, inputs=self._seed.inputs, now=self._now)
        new.connection = self._connection
        for cost in new.write():
            self.job = new.id
            yield cost
            new.connection = self._connection
        if any(rule.job is not None for rule in spec.needs):
            yield from self._settle(new.id)
        if job_rows.by_key(self._connection, self._key) is None:  # nor has it been sent again meanwhile
            new.connection = self._connection
            new.open(self._key)

    def _settle(self, job: int) -> Iterator[int]:
        """What its frames need may have failed long ago."""
        after = -1
        while (page := dependencies.page(self._connection, job, after, _PAGE)) is not None:
            lifecycle = Lifecycle(self._connection, self._now)
            lifecycle.settle(job, after, page)
            lifecycle.save()
            after = page
            yield _PAGE


def record(
    connection: Connection, request: Submit, seed: Seed, now: float, resolve: Resolve = lambda _, rules: tuple(rules)
) -> tuple[int, int]:
    """Take a job in with the transaction that is under way; returns its id and its number of frames."""
    taking = Taking(request.key, seed, now, resolve)
    while not taking.part(connection):
        pass
    return taking.job, taking.frames
