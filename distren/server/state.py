"""What the parts of a server share: its name, its stores, its clocks, and what it knows of its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection, Engine

from distren.domain.job import Blob
from distren.domain.needs import Needs
from distren.errors import DistrenError
from distren.limits import Limits
from distren.server import dispatch, views
from distren.server.alone import Alone, AtHome
from distren.server.changes import Changed
from distren.server.fleet import Fleet
from distren.server.lifecycle import Lifecycle
from distren.server.rates import Rates
from distren.server.seeds import Seed
from distren.server.ward import Ward
from distren.server.waterline import Waterline
from distren.storage import frames as frame_rows
from distren.storage.blobstore import BlobStore
from distren.storage.jobs import Job
from distren.wire.codec import Message
from distren.wire.frames import Progress, Stop
from distren.wire.jobs import Change, JobInfo
from distren.wire.moves import Move


class Lending(dispatch.Lending, Protocol):
    """What the turns ask of lending; see server/lending.py."""

    def hear(self, events: Iterable[object]) -> None: ...

    def progressed(self, event: Progress) -> None: ...

    def withdraw(self, connection: Connection, lifecycle: Lifecycle, *, everything: bool, tick: bool) -> None: ...

    def lend(self, connection: Connection, owing: list[dispatch.Owing]) -> list[dispatch.Owing]: ...

    def follow(self, connection: Connection, *, tick: bool) -> list[Changed]: ...

    def committed(self) -> None: ...

    def resolve(self, connection: Connection, rules: Iterable[Needs]) -> tuple[Needs, ...]: ...

    def trouble(self, peer: str) -> str: ...


class Moves(Protocol):
    """What is asked about jobs that are handed over to peers; see server/moves.py."""

    def forward(self, job: int) -> Message | None: ...

    def move(self, message: Move) -> Message: ...

    def check_change(self, connection: Connection, message: Change) -> None: ...

    def why(self, job: int) -> str: ...


@dataclass
class State:
    """`now` is the wall clock, `steady` one that never jumps; both in seconds.

    `database` is the mark of the database (storage/identity.py), `kills` how many workers a frame may end before it
    fails. `changed` collects what transactions changed until it is told to listeners; `rearrange` is called after a
    change that makes frames in queues stand there wrongly, with what workers have to stop; `opened` is the steady time
    of the start; `sweeping`: something may be left of deleted jobs; `arriving`: the jobs that are being written;
    `examine` looks at a seed in another process, `examined` holds what was found out before, by manifests;
    `keep_unused`: seconds that blobs stay which no job names.
    """

    name: str
    engine: Engine
    store: BlobStore
    waterline: Waterline
    database: str = ""
    limits: Limits = field(default_factory=Limits)
    examine: Callable[[Blob], Seed] | None = None
    examined: dict[str, Seed | DistrenError] = field(default_factory=dict)
    kills: int = 3
    keep_unused: float = 86_400.0
    rearrange: Callable[[Stop | None], None] = lambda _: None
    ward: Ward = field(init=False)
    fleet: Fleet = field(default_factory=Fleet)
    rates: Rates = field(default_factory=Rates)
    progress: dict[tuple[int, int], float] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)
    now: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    opened: float = field(default_factory=time.monotonic)
    lending: Lending = field(default_factory=Alone)
    moves: Moves = field(default_factory=AtHome)
    sweeping: bool = True
    arriving: set[int] = field(default_factory=set)

    def job_info(self, job: Job) -> JobInfo:
        """The job as a client sees it."""
        return views.job_info(job, rate=self.rates.of(job.id, self.steady()), why=self.why_waiting(job))

    def why_waiting(self, job: Job) -> str:
        """One line on what keeps a job from going on; not to be asked within a transaction."""
        if leaving := self.moves.why(job.id):
            return leaving
        now = self.steady()
        starving: list[int] = []
        if idle := views.idle_lanes(job, self.fleet, now):
            with self.engine.begin() as connection:
                starving = frame_rows.ready_lanes(connection, job.id, idle)
        return views.why_waiting(job, self.fleet, now, starving)
