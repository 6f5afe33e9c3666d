"""A new job is written in parts: nobody sees it before the last one, and what is left of half a job is removed."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine, func, select
from test_dependencies import Chained, all_of, each
from test_lifecycle import BLOB, completed, token

from distren.domain import frameset
from distren.domain.groups import Group
from distren.domain.job import InputFile, JobSpec
from distren.domain.needs import Needs
from distren.domain.states import FrameState, JobState
from distren.errors import Conflict, NotFound
from distren.server import deletion
from distren.server.intake import Taking
from distren.server.lifecycle import Lifecycle
from distren.server.seeds import Seed
from distren.storage import audit, tables
from distren.storage import files as file_rows
from distren.storage import jobs as job_rows

B, R, D, F = (FrameState(name) for name in ("blocked", "ready", "done", "failed"))


@pytest.fixture
def farm(engine: Engine) -> Chained:
    return Chained(engine)


def taking(frames: str, *needs: Needs, key: str | None = None, groups: tuple[Group, ...] = ()) -> Taking:
    spec = JobSpec(name="t", renderer="povray", frames=frameset.parse(frames), needs=needs, groups=groups)
    inputs = (InputFile(path="a.pov", blob=BLOB), InputFile(path="b.inc", blob=BLOB))
    return Taking(key or uuid.uuid4().hex, Seed(spec=spec, manifest=BLOB, inputs=inputs), 1.0)


def part(farm: Chained, one: Taking, most: int = 1) -> bool:
    with farm.engine.begin() as connection:
        return one.part(connection, most)


def rows(farm: Chained) -> dict[str, int]:
    with farm.engine.begin() as connection:
        found = (tables.jobs, tables.frames, tables.files, tables.dependencies, tables.groups)
        return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in found}


def test_a_job_is_the_same_in_however_many_parts_it_is_written(farm: Chained) -> None:
    described = ("0-70000,5,90000-90003", each("1-500", "0-499"), all_of("90000", "1-3"))
    groups = (Group(frames=frameset.parse("7-9"), label="some"),)
    whole, parts = taking(*described, groups=groups), taking(*described, groups=groups)
    assert part(farm, whole, 10**9)
    steps = 1
    while not part(farm, parts):
        steps += 1
    assert steps > 8
    assert (whole.frames, parts.frames) == (70_005, 70_005)
    first, second = farm.job(whole.job), farm.job(parts.job)
    assert (first.counts, first.state, first.next_file) == (second.counts, second.state, second.next_file)
    assert (second.counts[R], second.counts[B]) == (69_504, 501)
    with farm.engine.begin() as connection:
        assert audit.counts(connection, [whole.job])[whole.job] == audit.counts(connection, [parts.job])[parts.job]
        assert audit.waits(connection, [parts.job]) == {}
        assert len(file_rows.of_job(connection, parts.job, after=-1, limit=10)[0]) == 3
    assert farm.frame(parts.job, 8).group == farm.frame(whole.job, 8).group == 0


def test_nobody_sees_a_job_that_is_being_written(farm: Chained) -> None:
    one = taking("0-100000")
    assert not part(farm, one)
    while not part(farm, one):
        with farm.engine.begin() as connection:
            assert job_rows.in_turn(connection) == job_rows.open_jobs(connection) == []
            assert job_rows.newest(connection, before=None, limit=10) == []
            with pytest.raises(NotFound, match=f"there is no job {one.job}"):
                Lifecycle(connection, 1.0).shown_job(one.job)
        assert farm.dispatch() == []
    assert len(farm.dispatch()) > 0
    assert (one.frames, farm.job(one.job).state) == (100_001, JobState.ACTIVE)


def test_what_a_process_that_died_has_left_of_a_job_is_removed_and_its_number_is_not_given_again(farm: Chained) -> None:
    before = rows(farm)
    half, other = taking("0-100000", each("1-10", "0-9")), taking("1-3")
    part(farm, half)
    part(farm, half)
    assert rows(farm) != before
    with farm.engine.begin() as connection:
        assert not deletion.remove_some(connection, {half.job})  # it is under way
    for _ in range(1_000):
        with farm.engine.begin() as connection:
            if not deletion.remove_some(connection):
                break
    assert rows(farm) == before
    assert part(farm, other, 10**9)
    assert other.job > half.job


def test_a_job_that_is_sent_again_while_it_is_written_is_one_job(farm: Chained) -> None:
    key = token()
    first, again = taking("0-100000", key=key), taking("0-100000", key=key)
    part(farm, first)
    while not part(farm, again):
        pass
    while not part(farm, first):
        pass
    assert (first.job, first.frames) == (again.job, again.frames)
    with farm.engine.begin() as connection:
        assert [job.id for job in job_rows.newest(connection, before=None, limit=9)] == [again.job]


def test_what_becomes_of_needed_frames_while_a_job_is_written_counts(farm: Chained) -> None:
    """Frames of another job become done, and one fails, before, between and after the parts."""
    base = farm.add("0-9")
    renders = {render.frame: render for render in farm.dispatch()}
    one = taking("0-9,20", each("0-9", "0-9", job=base), all_of("20", "8"))
    endings = [
        *(lambda number=number: farm.finish(renders[number]) for number in (3, 1, 4)),
        lambda: farm.fail(renders[8]),
    ]  # type: ignore[misc]
    done = False
    while not done:
        done = part(farm, one)
        if endings:
            endings.pop()()
    for ending in endings:
        ending()
    states = farm.states(one.job, "0-9,20")
    assert states == [B, R, B, R, R, B, B, B, F, B, F]
    farm.check_counts(one.job, "0-9,20")
    with farm.engine.begin() as connection:
        assert audit.waits(connection, [one.job]) == {}
    farm.apply(completed(base, 0, issue=renders[0].issue, name=token()))
    assert farm.states(one.job, "0") == [R]


def test_a_job_is_not_deleted_while_one_that_needs_it_is_written(farm: Chained) -> None:
    base = farm.add("0-9")
    farm.cancel(base)
    one = taking("0-9", each("0-9", "0-9", job=base))
    while rows(farm)["dependencies"] == 0:
        part(farm, one)
    with farm.engine.begin() as connection, pytest.raises(Conflict, match=f"job {one.job} needs frames of job {base}"):
        deletion.delete(connection, Lifecycle(connection, 1.0), base, force=True, now=1.0, arriving={one.job})


def test_frames_that_are_not_there_refuse_the_job_between_its_parts(farm: Chained) -> None:
    base = farm.add("0-9")
    one = taking("0-100000", each("0-10", "0-10", job=base))
    while rows(farm)["dependencies"] == 0:
        part(farm, one)
    with pytest.raises(NotFound, match=f"needs {base}/frame/10, which is not there"):
        part(farm, one)
    with farm.engine.begin() as connection:
        assert [job.id for job in job_rows.newest(connection, before=None, limit=9)] == [base]
