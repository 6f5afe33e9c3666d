"""Workers are told of frames in their hands that nobody wants any more."""

from __future__ import annotations

from sqlalchemy import Engine
from test_dependencies import Chained
from test_lifecycle import started, token

from distren.server import unwanted
from distren.storage import frames as frame_rows
from distren.wire.frames import Report, Stop


def report(*held: tuple[int, int]) -> Report:
    return Report(
        worker="w", host="h", pid=1, pool="default", queue="q", renderers={}, slots=1, room=1, state="working", held=[],
        held_frames=list(held), cores=1, memory=1, started=1.0, software="0",
    )  # fmt: skip


def test_what_has_ended_or_is_gone_is_stopped_and_what_may_still_be_of_use_is_not(engine: Engine) -> None:
    farm = Chained(engine)
    job = farm.add("1-4")
    renders = farm.dispatch()
    farm.finish(renders[0])
    farm.apply(started(job, 2, name=token()))
    with engine.begin() as connection:
        found = unwanted.stops(
            connection,
            [report((job, 1), (job, 2)), report((job, 3), (job + 7, 1))],
            frame_rows.issued(connection),
        )
    assert found == [Stop(job=job, frames=[1]), Stop(job=job + 7, frames=[1])]
