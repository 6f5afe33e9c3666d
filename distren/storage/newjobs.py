"""Writes new jobs into the database, a part in each transaction, so that nobody waits long for a large one.

A job that is being written looks like one that is being deleted: nobody sees it and nothing of it is rendered before
`NewJob.open`, and the sweep of deleted jobs removes what a process that died has left of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import CTE, Connection, insert, literal, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from distren.domain.job import Blob, InputFile, JobSpec
from distren.domain.progress import Counts, outcome
from distren.domain.states import JOB_ENDED, FrameState, JobState
from distren.renderers.work import capability_of, lanes_of
from distren.storage import audit, dependencies, groups
from distren.storage.tables import files, frames, jobs

PART = 60_000
"""rows of frames that one transaction writes: some 0.1 s; rows of other tables count for more"""
_ROWS = 10_000
_PIECE = 30_000
"""ids of a range that one statement writes"""
_LONG = 100
"""ids of a range that the database counts out itself"""
_DEARER = 3
"""times that a row with more columns or indexes takes of what a frame does"""
T = TypeVar("T")
_FRESH = {"state": FrameState.READY, "issue": 0, "failures": 0, "attempts": 0, "not_before": 0.0}


class NewJob:
    """A job with its files, frames and needs, on the way into the database.

    `id` is its number once the first part is written. Raises NotFound where a frame needs one that is not there.
    """

    def __init__(self, spec: JobSpec, *, manifest: Blob, inputs: Iterable[InputFile], now: float) -> None:
        self.id = 0
        self.connection: Connection
        self._spec, self._manifest, self._inputs, self._now = spec, manifest, tuple(inputs), now

    def write(self) -> Iterator[int]:
        """Write the job; between two steps, the transaction may end and `connection` become that of another.

        Yields what each step has cost, in rows of frames.
        """
        self._write_job()
        yield 1
        yield from self._write_files()
        yield from self._write_frames()
        groups.add(self.connection, self.id, self._spec.groups)
        yield _DEARER * len(self._spec.groups)
        if self._spec.needs:
            yield from self._write_needs()

    def open(self, key: str) -> None:
        """Let everybody see the job, which is all there, under the key that its client has given it."""
        every = self._spec.every
        if every.is_disjoint and not self._spec.needs:
            counts = Counts({FrameState.READY: len(every)})
        else:
            counts = Counts(audit.counts(self.connection, [self.id])[self.id])
        state = outcome(JobState.ACTIVE, counts)
        self.connection.execute(
            update(jobs)
            .where(jobs.c.id == self.id)
            .values(
                key=key,
                state=state,
                ended=self._now if state in JOB_ENDED else None,
                deleted=None,
                counts={str(state): count for state, count in counts.by_state.items() if count},
                next_file=len(self._inputs) + 1,  # the id after the inputs is the bundle's
            )
        )

    def _write_job(self) -> None:
        spec = self._spec
        animation, silence = spec.animation, spec.limits.silence
        result = self.connection.execute(
            insert(jobs).values(
                key=secrets.token_hex(16),
                name=spec.name,
                renderer=spec.renderer,
                pool=spec.pool,
                priority=spec.priority,
                state=JobState.CANCELLED,
                deleted=self._now,
                width=spec.width,
                height=spec.height,
                first=animation.first,
                last=animation.last,
                settings=dict(spec.settings),
                content=list(spec.content),
                outputs=groups.outputs_written(spec.outputs),
                lanes=[] if (lanes := lanes_of(spec)) == (spec.renderer,) else list(lanes),
                time_limit=spec.limits.time.total_seconds(),
                silence_limit=None if silence is None else silence.total_seconds(),
                memory_limit=spec.limits.memory,
                output_limit=spec.limits.output,
                attempts=spec.limits.attempts,
                manifest=self._manifest.digest,
                manifest_size=self._manifest.size,
                counts={},
                created=self._now,
            )
        )
        assert result.inserted_primary_key is not None
        self.id = result.inserted_primary_key[0]

    def _write_files(self) -> Iterator[int]:
        rows = (
            {
                "job": self.id,
                "id": number,
                "kind": "input",
                "path": file.path,
                "digest": file.blob.digest,
                "size": file.blob.size,
            }
            for number, file in enumerate(self._inputs)
        )
        for part in _batches(rows):
            self.connection.execute(insert(files), part)
            yield _DEARER * len(part)

    def _write_frames(self) -> Iterator[int]:
        """All of them ready. An id that is named twice counts once, and belongs to the group that names it."""
        lanes = {name: lane for lane, name in enumerate(lanes_of(self._spec))}
        for number, group in enumerate(self._spec.groups):
            lane = lanes[capability_of(group.over(self._spec.work))]
            yield from self._write_ranges(group.frames.ranges, {"group": number, "lane": lane})
        yield from self._write_ranges(self._spec.frames.ranges, {"group": None, "lane": 0})

    def _write_ranges(self, ranges: Iterable[range], about: Mapping[str, int | None]) -> Iterator[int]:
        """Frames that are not there yet; long ranges are counted out by the database itself."""
        fresh = {**_FRESH, "job": self.id, **about}
        names = sorted(fresh)
        alone: list[dict[str, Any]] = []
        for ids in ranges:
            if len(ids) < _LONG:
                alone += [{**fresh, "id": number} for number in ids]
                if len(alone) >= _ROWS:
                    self.connection.execute(self._insert(), alone)
                    yield _DEARER * len(alone)
                    alone = []
                continue
            for start in range(0, len(ids), _PIECE):
                piece = ids[start : start + _PIECE]
                counted = _counted(piece)
                # "where true": without it, SQLite takes ON CONFLICT for the condition of a join
                values = select(*(literal(fresh[name], frames.c[name].type) for name in names), counted.c.id)
                self.connection.execute(self._insert().from_select([*names, "id"], values.where(true())))
                yield len(piece)
        if alone:
            self.connection.execute(self._insert(), alone)
            yield _DEARER * len(alone)

    def _insert(self) -> Any:
        dialect: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[self.connection.dialect.name]
        return dialect(frames).on_conflict_do_nothing()

    def _write_needs(self) -> Iterator[int]:
        dependencies.prepare(self.connection, self.id, self._spec.needs)
        for rule in self._spec.needs:
            for rows in _batches(dependencies.rows(self.id, rule)):
                dependencies.add(self.connection, rows)
                yield _DEARER * len(rows)
        after = -1
        while (page := dependencies.page(self.connection, self.id, after, _ROWS)) is not None:
            dependencies.check_there(self.connection, self.id, after, page)
            dependencies.count(self.connection, self.id, after, page)
            after = page
            yield _DEARER * _ROWS


def add(
    connection: Connection, spec: JobSpec, *, key: str, manifest: Blob, inputs: Iterable[InputFile], now: float
) -> int:
    """Write a job in the transaction that is under way; returns its id."""
    job = NewJob(spec, manifest=manifest, inputs=inputs, now=now)
    job.connection = connection
    for _ in job.write():
        pass
    job.open(key)
    return job.id


def _counted(ids: range) -> CTE:
    """The ids of a range, counted out."""
    numbers = select(literal(ids[0], frames.c.id.type).label("id")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.id + ids.step).where(numbers.c.id + ids.step <= ids[-1]))


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while part := list(islice(left, _ROWS)):
        yield part
