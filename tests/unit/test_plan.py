"""What --tiles and --video add to a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distren.client import plan
from distren.domain import frameset
from distren.domain.groups import Group
from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.errors import InputError
from distren.jobfile.reader import read_jobfile
from distren.jobfile.writer import write_jobfile
from distren.renderers import tiles

JOB = JobSpec(
    name="orrery",
    renderer="povray",
    frames=frameset.parse("1-48x2,50"),
    width=64,
    height=36,
    settings={"scene": "a.pov"},
)
GRID = tiles.parse("2x2")


def test_tiles_are_frames_that_the_merged_ones_need() -> None:
    made = plan.tiled(JOB, GRID)
    *parts, merged = made.groups
    assert [str(part.frames) for part in parts] == [f"{tile}01-{tile}47x2,{tile}50" for tile in (1, 2, 3, 4)]
    assert [part.offset for part in parts] == [100, 200, 300, 400]
    assert all(part.intermediate and part.renderer is None for part in parts)
    assert parts[3].settings == {"tile-left": "32", "tile-top": "18", "tile-width": "32", "tile-height": "18"}
    assert (str(merged.frames), merged.renderer, merged.settings) == ("1-47x2,50", "merge", {"tiles": "2x2"})
    assert not merged.intermediate
    assert dict(made.needs[0]) == {frame: frame + 100 for frame in JOB.frames}
    assert (made.animation.first, made.animation.last) == (1, 50)


def test_a_video_needs_the_images_of_the_result_and_has_the_next_id() -> None:
    made = plan.filmed(JOB, {"name": "a.mp4"})
    [video] = made.groups
    assert (str(video.frames), video.renderer, video.settings) == ("51", "encode", {"name": "a.mp4"})
    assert [needed for _, needed in made.needs[-1]] == list(JOB.frames)
    assert (made.animation.first, made.animation.last) == (1, 50)
    both = plan.filmed(plan.tiled(JOB, GRID), {})
    assert str(both.groups[-1].frames) == "451"
    assert [needed for _, needed in both.needs[-1]] == list(JOB.frames)


def test_frames_that_are_named_twice_are_in_the_video_once() -> None:
    spec = replace(JOB, groups=(Group(frames=frameset.parse("3,60"), label="poster"),))
    needed = [needed for _, needed in plan.filmed(spec, {}).needs[-1]]
    assert needed == sorted({*JOB.frames, 3, 60})


@pytest.mark.parametrize("made", [plan.tiled(JOB, GRID), plan.filmed(plan.tiled(JOB, GRID), {"name": "a.mp4"})])
def test_such_a_job_can_be_written_and_read(made: JobSpec) -> None:
    assert read_jobfile(write_jobfile(made)) == made


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (replace(JOB, width=None), "give --size"),
        (replace(JOB, renderer="encode"), "Encode can not render tiles"),
        (replace(JOB, width=1), "can not be divided into 2x2 tiles"),
        (replace(JOB, groups=(Group(frames=frameset.parse("60"), label="poster"),)), "need no others"),
        (replace(JOB, needs=(Needs(frames=frameset.parse("3"), needed=frameset.parse("1")),)), "need no others"),
    ],
)
def test_what_can_not_be_divided_is_refused(spec: JobSpec, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        plan.tiled(spec, GRID)
