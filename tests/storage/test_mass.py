"""A change of all frames at once is the same as one of each, and other jobs follow it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from sqlalchemy import Engine
from test_dependencies import Chained, all_of, each
from test_lifecycle import started, token

from distren.domain import frameset
from distren.domain.states import ISSUED, FrameState, JobState
from distren.errors import Conflict
from distren.server import masschange
from distren.server.lifecycle import Lifecycle
from distren.server.masschange import MassChange
from distren.storage import frames as frame_rows

F = FrameState
EVERY = "0-11"


@pytest.fixture
def farm(engine: Engine) -> Chained:
    return Chained(engine)


def mixed(farm: Chained) -> int:
    """A job with frames in every state: 0 done, 1 failed, 2 rendering, 3 cancelled, 4-6 queued, 7-11 wait or starve."""
    job = farm.add(EVERY, all_of("7-9", "5"), each("10,11", "1,10"))
    renders = {render.frame: render for render in farm.dispatch()}
    farm.finish(renders[0])
    farm.fail(renders[1])
    farm.apply(started(job, 2, name=token()))
    farm.cancel(job, "3")
    return job


@pytest.mark.parametrize("most", [1, 3])
def test_what_is_changed_in_parts_is_what_is_changed_at_once(farm: Chained, most: int) -> None:
    job, twin = mixed(farm), mixed(farm)
    actions: list[Literal["cancel", "retry"]] = ["cancel", "retry", "cancel"]
    for action in actions:
        farm.change_many(job, action, most=most)
        farm.change_many(twin, action)
        assert values(farm, job) == values(farm, twin)
        farm.check_counts(job, EVERY)
    farm.change_many(job, "retry", "0,2-7", most=most)
    farm.change_many(twin, "retry", "0,2-7")
    assert values(farm, job) == values(farm, twin)
    farm.check_counts(job, EVERY)


@pytest.mark.parametrize("frames", ["0-300", "0-300x2", "7,3,290-300", "5-250,3", "0-9007199254740991"])
def test_named_frames_are_changed_by_statements_as_they_are_one_by_one(farm: Chained, frames: str) -> None:
    """The frames of the twin are changed one by one, as one of them needs another."""
    job, twin = farm.add("0-300"), farm.add("0-300,3000", all_of("3000", "300"))
    for one in farm.dispatch()[:5]:
        farm.apply(started(job, one.frame, name=token()))
    issued = {number for number, state in states_of(farm, job).items() if state in ISSUED}
    named = {number for number in range(301) if number in frameset.parse(frames)}
    actions: list[Literal["cancel", "retry"]] = ["cancel", "retry", "cancel"]
    for action in actions:
        stopped = farm.change_many(job, action, frames, most=100)
        assert set(stopped) == issued & named
        issued -= named
        farm.change_many(twin, action, frames, most=100)
        changed = dict.fromkeys(named, F.CANCELLED if action == "cancel" else F.READY)
        for one in (job, twin):
            assert changed.items() <= states_of(farm, one).items()
        farm.check_counts(job, "0-300")
    with pytest.raises(Conflict, match="among those named"):
        farm.change_many(job, "cancel", frames)


@pytest.mark.parametrize("frames", [None, "0-300"])
def test_a_change_that_broke_off_is_finished_when_it_is_asked_for_again(
    farm: Chained, frames: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server died between two parts: the broker brings the request to the next one."""
    monkeypatch.setattr(masschange, "PART", 100)
    base = farm.add("0")
    job = farm.add("0-300", all_of("300", "0", job=base))
    ranges = None if frames is None else frameset.parse(frames).ranges
    actions: list[Literal["cancel", "retry"]] = ["cancel", "retry", "cancel"]
    for action in actions:
        for parts in (1, 2):
            half = MassChange(job, action, ranges)
            for _ in range(parts):
                farm.change(lambda lifecycle, half=half: half.part(lifecycle._connection, lifecycle, 1))  # type: ignore[misc]
        farm.change_many(job, action, frames)
        farm.check_counts(job, "0-300")
        wanted = F.CANCELLED if action == "cancel" else F.READY
        assert {*farm.states(job, "0-299")} == {wanted}
        if action == "cancel":
            with pytest.raises(Conflict):
                farm.change_many(job, action, frames)


def states_of(farm: Chained, job: int) -> dict[int, FrameState]:
    with farm.engine.begin() as connection:
        return {one.frame.id: one.frame.state for one in frame_rows.of_job(connection, job, limit=10_000)}


def values(farm: Chained, job: int) -> list[tuple[object, ...]]:
    with farm.engine.begin() as connection:
        stored = frame_rows.of_job(connection, job, limit=100)
    fields = ("id", "state", "queue", "failures", "starved", "result", "waits_for")
    return [(*(getattr(one.frame, name) for name in fields), one.frame.ended is None, one.attempts) for one in stored]


def test_a_job_that_is_called_off_is_called_off_frame_by_frame(farm: Chained) -> None:
    job, twin = mixed(farm), mixed(farm)
    farm.cancel(job)
    farm.cancel(twin, EVERY)
    assert values(farm, job) == values(farm, twin)
    farm.check_counts(job, EVERY)
    assert farm.job(job).state is JobState.CANCELLED


def test_a_retry_of_all_is_one_of_each_that_has_no_result(farm: Chained) -> None:
    job, twin = mixed(farm), mixed(farm)
    farm.retry(job)
    farm.retry(twin, "1,3,10-11")
    assert values(farm, job) == values(farm, twin)
    farm.check_counts(job, EVERY)
    assert farm.states(job, "1,3,10-11") == [F.READY, F.READY, F.BLOCKED, F.BLOCKED]
    assert farm.job(job).state is JobState.ACTIVE


def test_other_jobs_follow(farm: Chained) -> None:
    job = mixed(farm)
    other = farm.add("0-3", all_of("0", "0", job=job), all_of("1", "4", job=job), all_of("2", "5", job=job))
    assert farm.states(other, "0-3") == [F.READY, F.BLOCKED, F.BLOCKED, F.READY]
    farm.cancel(job)
    assert farm.states(other, "0-3") == [F.READY, F.FAILED, F.FAILED, F.READY]
    farm.check_counts(other, "0-3")
    farm.retry(job)
    assert farm.states(other, "0-3") == [F.READY, F.BLOCKED, F.BLOCKED, F.READY]
    farm.check_counts(other, "0-3")


def test_a_frame_whose_need_is_still_broken_fails_again(farm: Chained) -> None:
    base = farm.add("0")
    job = farm.add("0-1", all_of("0", "0", job=base))
    farm.cancel(base)
    assert farm.states(job, "0-1") == [F.FAILED, F.READY]
    farm.retry(job)
    assert farm.states(job, "0-1") == [F.FAILED, F.READY]
    farm.check_counts(job, "0-1")
    farm.retry(base)
    assert farm.states(job, "0-1") == [F.BLOCKED, F.READY]


def test_a_retry_of_nothing_is_refused(farm: Chained) -> None:
    job = farm.add("0-3")
    with pytest.raises(Conflict, match="no frame that this would change"):
        farm.retry(job)


@pytest.mark.parametrize("change", [Chained.cancel, Chained.retry], ids=["cancel", "retry"])
def test_a_hundred_thousand_frames_change_soon(farm: Chained, change: Callable[[Chained, int], None]) -> None:
    job = farm.add("1-100000")
    if change is Chained.retry:
        farm.cancel(job)
    began = time.process_time()
    change(farm, job)
    assert time.process_time() - began < 5  # 0.4 s on a machine of its own
    assert farm.job(job).counts[F.CANCELLED if change is Chained.cancel else F.READY] == 100_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_part_takes_no_longer_in_a_longer_job(engine: Engine, action: Literal["cancel", "retry"]) -> None:
    """In hundreds of steps of SQLite, which do not depend on what else this computer does."""
    farm = Chained(engine)
    steps: list[int] = []
    for frames in ("0-2999", "0-29999"):
        job = farm.add(frames)
        if action == "retry":
            farm.change_many(job, "cancel")
        change = MassChange(job, action)
        with engine.begin() as connection:
            count = itertools.count()
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda count=count: next(count) < 0, 100)
            lifecycle = Lifecycle(connection, time.time())
            change.part(connection, lifecycle, most=1)
            lifecycle.save()
            driver.set_progress_handler(None, 0)
            steps.append(next(count))
    assert 0 < steps[1] < 1.2 * steps[0]
