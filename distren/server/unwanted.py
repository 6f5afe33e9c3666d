"""Finds attempts that nobody wants any more: a worker that was cut off has not heard that its frame has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from distren.domain.states import FRAME_ENDED
from distren.storage import frames as frame_rows
from distren.storage.frames import Stored
from distren.wire.frames import Report, Stop

MOST = 1_000
"""frames that are looked up at once; the rest is, the next time"""


def stops(connection: Connection, reports: Iterable[Report], issued: Collection[Stored]) -> list[Stop]:
    """What to tell workers that hold frames which have ended, or whose job is gone.

    A frame that waits for another attempt is left to them: their result would be as good.
    """
    wanted = {(one.frame.job, one.frame.id) for one in issued}
    held = {key for report in reports for key in report.held_frames} - wanted
    known = frame_rows.load(connection, sorted(held)[:MOST]) if held else {}
    unwanted: defaultdict[int, list[int]] = defaultdict(list)
    for job, frame in sorted(held)[:MOST]:
        stored = known.get((job, frame))
        if stored is None or stored.frame.state in FRAME_ENDED:
            unwanted[job].append(frame)
    return [Stop(job=job, frames=frames) for job, frames in unwanted.items()]
