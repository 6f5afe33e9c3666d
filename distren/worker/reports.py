"""What a worker reports of itself, every few seconds and whenever something changes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from distren import __version__
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import EVENTS
from distren.wire.frames import Report
from distren.worker.hand import Holding
from distren.worker.identity import host

EVERY = 5.0
"""seconds between reports; a server counts on them"""
_MOST_HELD = 10_000


class State(StrEnum):
    WORKING = "working"  #: takes frames
    DISK_FULL = "disk full"  #: finishes what it holds, and takes nothing more until there is room on its disk
    DRAINING = "draining"  #: finishes what it holds and takes nothing more
    QUARANTINED = "quarantined"  #: takes nothing more until the server says otherwise
    ENDED = "ended"  #: has gone, on purpose


@dataclass(frozen=True, kw_only=True)
class Card:
    """What stays the same in a worker's reports. `sandboxed`: renders run in a sandbox."""

    worker: str
    pool: str
    queue: str
    renderers: dict[str, str]
    sandboxed: bool
    allows: dict[str, dict[str, list[str] | None]] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory: int = field(default_factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    def report(self, state: State, *, slots: int, room: int, held: Sequence[Holding]) -> Outgoing:
        """The report to publish; it may be lost."""
        held = held[:_MOST_HELD]
        message = Report(
            worker=self.worker,
            host=host(),
            pid=os.getpid(),
            pool=self.pool,
            queue=self.queue,
            renderers=self.renderers,
            slots=slots,
            room=room,
            state=state.value,
            held=[one.token for one in held],
            held_frames=[(one.render.job, one.render.frame) for one in held],
            cores=self.cores,
            memory=self.memory,
            started=self.started,
            software=f"distren {__version__}",
            sandboxed=self.sandboxed,
            allows=self.allows,
        )
        return Outgoing(exchange=EVENTS, key=message.type, body=message.encode(), persistent=False, type=message.type)
