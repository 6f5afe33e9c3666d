"""Frame groups in the database: who has what of its own, and no renderer that is missing holds up another."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine

from distren.domain import frameset
from distren.domain.groups import Group, Output
from distren.domain.job import JobSpec
from distren.domain.states import FrameState
from distren.server import views
from distren.storage import frames as frame_rows
from distren.storage import newjobs
from distren.wire.frames import Report
from tests.storage.test_lifecycle import BLOB, Farm, token


@pytest.fixture
def farm(engine: Engine) -> Farm:
    return Farm(engine)


def add(farm: Farm, frames: str | None, *groups: Group, **more: object) -> int:
    spec = JobSpec(
        name="t",
        renderer="povray",
        frames=frameset.FrameSet(()) if frames is None else frameset.parse(frames),
        settings={"scene": "a.pov", "quality": "9"},
        outputs=(Output(path="depth{frame:03}.exr", image=True),),
        groups=groups,
        **more,  # type: ignore[arg-type]
    )
    with farm.engine.begin() as connection:
        return newjobs.add(connection, spec, key=token(), manifest=BLOB, inputs=(), now=1.0)


def group(frames: str, **own: object) -> Group:
    return Group(frames=frameset.parse(frames), **own)  # type: ignore[arg-type]


def hear(farm: Farm, renderer: str) -> None:
    farm.fleet.hear(
        Report(
            worker=f"w-{renderer}",
            host="h",
            pid=1,
            pool="default",
            queue=f"frames.default.{renderer}",
            renderers={renderer: "1"},
            slots=2,
            room=100,
            state="working",
            held=[],
            cores=2,
            memory=1,
            started=1.0,
            software="0",
        ),
        farm.now,
    )


def test_a_frame_is_rendered_as_its_group_says(farm: Farm) -> None:
    add(
        farm,
        "1-3",
        group("2", settings={"quality": "11"}, content=("<a/>",)),
        group("7", label="x", outputs=(Output(path="p"),)),
    )
    renders = {render.frame: render for render in farm.dispatch()}
    assert sorted(renders) == [1, 2, 3, 7]
    assert {frame: render.settings for frame, render in renders.items()} == {
        frame: {"scene": "a.pov", "quality": "11" if frame == 2 else "9"} for frame in (1, 2, 3, 7)
    }
    assert [render.content for render in renders.values()] == [[], ["<a/>"], [], []]
    assert [render.outputs[0].path for render in renders.values()] == [
        "depth001.exr",
        "depth002.exr",
        "depth003.exr",
        "p",
    ]
    assert {(render.first, render.last) for render in renders.values()} == {(1, 7)}


def test_another_renderer_gets_its_own_settings_and_its_own_workers(farm: Farm) -> None:
    hear(farm, "encode")
    job = add(farm, None, group("1-2"), group("9", renderer="encode", settings={"fps": "25"}))
    renders = {render.frame: render for render in farm.dispatch()}
    assert (renders[9].renderer, renders[9].settings, renders[9].outputs) == ("encode", {"fps": "25"}, [])
    assert renders[1].renderer == "povray"
    assert farm.frame(job, 9).frame.queue == "frames.default.encode"
    assert farm.job(job).lanes == ("povray", "encode")


def test_a_renderer_that_nobody_has_holds_up_no_other_frames_and_is_named(farm: Farm) -> None:
    job = add(farm, "100-103", group("1-50", renderer="encode"))
    assert sorted(render.frame for render in farm.dispatch()) == [100, 101, 102, 103]
    idle = views.idle_lanes(farm.job(job), farm.fleet, farm.now)
    with farm.engine.begin() as connection:
        starving = frame_rows.ready_lanes(connection, job, idle)
    assert "can run 'encode' now" in views.why_waiting(farm.job(job), farm.fleet, farm.now, starving)
    hear(farm, "encode")
    assert sorted(render.frame for render in farm.dispatch()) == [*range(1, 51)]
    assert views.idle_lanes(farm.job(job), farm.fleet, farm.now) == []


@pytest.mark.parametrize("frames", ["1-400", "5,1-400,5,7-9", "0-1000x3"])
def test_every_id_is_one_frame_however_often_it_is_named(farm: Farm, frames: str) -> None:
    job = add(farm, frames, group("7", label="a"), group("200-390x10", label="b"))
    ids = set(frameset.parse(frames)) | {7} | set(range(200, 391, 10))
    assert farm.job(job).counts.total == farm.job(job).counts[FrameState.READY] == len(ids)
    with farm.engine.begin() as connection:
        stored = {one.frame.id: one.group for one in frame_rows.of_job(connection, job, limit=10_000)}
    assert set(stored) == ids
    assert {frame for frame, number in stored.items() if number == 0} == {7}
    assert {frame for frame, number in stored.items() if number == 1} == set(range(200, 391, 10))


def test_a_group_costs_a_large_job_nothing(farm: Farm) -> None:
    began = time.process_time()
    job = add(farm, "1-200000", group("200001", renderer="encode"))
    assert farm.job(job).counts.total == 200_001
    assert time.process_time() - began < 20
