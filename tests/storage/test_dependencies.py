"""Frames that need others: blocked, ready, failed and revived with them, whatever the job."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine
from test_lifecycle import BLOB, Farm, completed, failed, token

from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.domain.needs import Needs
from distren.domain.states import FrameState, JobState
from distren.errors import Conflict, NotFound
from distren.server import changes, intake, views
from distren.server.fleet import Fleet
from distren.server.seeds import Seed
from distren.storage import dependencies, identity
from distren.wire.fields import Blob as WireBlob
from distren.wire.frames import Render
from distren.wire.jobs import Submit

B, R, Q, D, F, C = (FrameState(name) for name in ("blocked", "ready", "queued", "done", "failed", "cancelled"))


def all_of(frames: str, needed: str, job: int | None = None) -> Needs:
    return Needs(frames=frameset.parse(frames), needed=frameset.parse(needed), job=job)


def each(frames: str, needed: str, job: int | None = None) -> Needs:
    return Needs(frames=frameset.parse(frames), needed=frameset.parse(needed), job=job, pairs=True)


class Chained(Farm):
    """A farm whose jobs have dependencies."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        with engine.begin() as connection:
            identity.claim(connection, "alpha", 1.0)

    def add(self, frames: str, *needs: Needs) -> int:
        spec = JobSpec(name="t", renderer="povray", frames=frameset.parse(frames), needs=needs)
        with self.engine.begin() as connection:
            request = Submit(manifest=WireBlob.of(BLOB), key=uuid.uuid4().hex)
            return intake.record(connection, request, Seed(spec=spec, manifest=BLOB, inputs=()), self.now)[0]

    def states(self, job: int, frames: str) -> list[FrameState]:
        return [self.frame(job, number).frame.state for number in frameset.parse(frames)]

    def finish(self, *renders: Render) -> None:
        self.apply(*(completed(one.job, one.frame, issue=one.issue, name=token()) for one in renders))

    def fail(self, *renders: Render) -> None:
        self.apply(*(failed(one.job, one.frame, issue=one.issue, name=token(), permanent=True) for one in renders))

    def retry(self, job: int, frames: str | None = None) -> None:
        self.change_many(job, "retry", frames)

    def cancel(self, job: int, frames: str | None = None) -> None:
        self.change_many(job, "cancel", frames)

    def reason(self, job: int, frame: int) -> str | None:
        return self.frame(job, frame).frame.reason

    def check_counts(self, job: int, frames: str) -> None:
        states = self.states(job, frames)
        assert {state: self.job(job).counts[state] for state in FrameState} == {
            state: states.count(state) for state in FrameState
        }


@pytest.fixture(params=[changes.MANY, 1], ids=["one by one", "by statements"])
def farm(engine: Engine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Chained:
    """What follows from a change is the same, however many frames follow."""
    monkeypatch.setattr(changes, "MANY", request.param)
    return Chained(engine)


def test_a_frame_waits_for_all_that_it_needs_and_gets_their_results(farm: Chained) -> None:
    job = farm.add("1-3,9", all_of("9", "1-3"), all_of("9", "1"))
    assert farm.states(job, "1-3,9") == [R, R, R, B]
    first, *others = farm.dispatch()
    assert [first.frame, *(one.frame for one in others)] == [1, 2, 3]
    farm.finish(first, others[0])
    assert (farm.dispatch(), farm.frame(job, 9).frame.waits_for) == ([], 1)
    farm.finish(others[1])
    farm.check_counts(job, "1-3,9")
    [last] = farm.dispatch()
    assert last.needs == [(job, number, BLOB.digest, BLOB.size) for number in (1, 2, 3)]
    assert first.needs == []
    farm.finish(last)
    assert farm.job(job).state is JobState.DONE


def test_frames_of_another_job_are_needed_frame_by_frame(farm: Chained) -> None:
    first = farm.add("1-3")
    renders = farm.dispatch()
    farm.finish(renders[0])
    second = farm.add("11-13", each("11-13", "1-3", job=first))
    assert farm.states(second, "11-13") == [R, B, B]
    farm.finish(renders[2])
    assert farm.states(second, "11-13") == [R, B, R]
    farm.check_counts(second, "11-13")


def test_a_failure_reaches_all_that_need_it_and_a_retry_revives_them(farm: Chained) -> None:
    job = farm.add("1-5", each("2-5", "1-4"))
    other = farm.add("7", all_of("7", "5", job=job))
    [first] = farm.dispatch()
    farm.fail(first)
    assert farm.states(job, "1-5") == [F, F, F, F, F]
    assert (farm.job(job).state, farm.job(other).state) == (JobState.FAILED, JobState.FAILED)
    assert farm.reason(job, 2) == f"needs distren://alpha/{job}/frame/1, which failed"
    assert farm.reason(other, 7) == f"needs distren://alpha/{job}/frame/5, which failed"
    farm.retry(job, "1")
    assert farm.states(job, "1-5") == [R, B, B, B, B]
    assert farm.states(other, "7") == [B]
    assert (farm.job(job).state, farm.job(other).state) == (JobState.ACTIVE, JobState.ACTIVE)
    assert farm.reason(job, 2) is None
    for _ in range(5):
        farm.finish(*farm.dispatch())
    assert farm.job(job).state is JobState.DONE
    farm.check_counts(job, "1-5")
    farm.finish(*farm.dispatch())
    assert farm.job(other).state is JobState.DONE


def test_a_cancelled_frame_fails_those_that_need_it(farm: Chained) -> None:
    job = farm.add("1-3", each("2-3", "1-2"))
    farm.cancel(job, "1")
    assert farm.states(job, "1-3") == [C, F, F]
    assert farm.reason(job, 2) == f"needs distren://alpha/{job}/frame/1, which was cancelled"
    assert farm.reason(job, 3) == f"needs distren://alpha/{job}/frame/2, which failed"
    farm.retry(job)
    assert farm.states(job, "1-3") == [R, B, B]
    farm.cancel(job)
    assert farm.states(job, "1-3") == [C, C, C]
    farm.check_counts(job, "1-3")


def test_a_dependent_with_a_second_broken_need_stays_failed_for_that(farm: Chained) -> None:
    job = farm.add("1-4", all_of("3", "1-2"), all_of("4", "3"))
    farm.fail(*farm.dispatch())
    farm.retry(job, "1")
    assert farm.states(job, "1-4") == [R, F, F, F]
    assert farm.reason(job, 3) == f"needs distren://alpha/{job}/frame/2, which failed"
    farm.retry(job, "2")
    assert farm.states(job, "1-4") == [R, R, B, B]


def test_a_retry_of_a_dependent_alone(farm: Chained) -> None:
    job = farm.add("1-2", all_of("2", "1"))
    farm.fail(*farm.dispatch())
    farm.retry(job, "2")
    assert farm.states(job, "1-2") == [F, F]
    farm.retry(job)
    farm.finish(*farm.dispatch())
    farm.fail(*farm.dispatch())
    assert farm.states(job, "1-2") == [D, F]
    farm.retry(job, "2")
    assert farm.states(job, "1-2") == [D, R]
    farm.check_counts(job, "1-2")


def test_a_retry_of_a_done_frame_blocks_only_what_was_not_issued(farm: Chained) -> None:
    job = farm.add("1-4", all_of("2-4", "1"))
    farm.finish(*farm.dispatch())
    farm.report("w1", room=1)
    two, three, *_ = farm.dispatch()
    farm.finish(two)
    four = farm.frame(job, 4)
    farm.change(lambda lifecycle: lifecycle.take_back(four, "test"))
    assert farm.states(job, "1-4") == [D, D, Q, R]
    farm.retry(job, "1")
    assert farm.states(job, "1-4") == [R, D, Q, B]
    assert three.needs
    farm.apply(failed(job, 3, name=token()))
    assert farm.states(job, "1-4") == [R, D, B, B]
    farm.report("w1", room=9)
    [again] = farm.dispatch()
    farm.finish(again)
    assert farm.states(job, "1-4") == [D, D, R, R]
    farm.check_counts(job, "1-4")


def test_a_frame_that_failed_by_itself_is_not_revived_with_what_it_needs(farm: Chained) -> None:
    job = farm.add("1-2", all_of("2", "1"))
    farm.finish(*farm.dispatch())
    farm.fail(*farm.dispatch())
    farm.retry(job, "1")
    assert farm.states(job, "1-2") == [R, F]


def test_a_cancelled_job_is_not_revived_by_what_it_needs(farm: Chained) -> None:
    first = farm.add("1")
    second = farm.add("1-2", all_of("1", "1", job=first))
    farm.fail(*(one for one in farm.dispatch() if one.job == first))
    farm.cancel(second)
    farm.retry(first)
    assert farm.states(second, "1-2") == [F, C]
    assert farm.job(second).state is JobState.CANCELLED


def test_a_job_that_needs_what_has_failed_fails_at_once(farm: Chained) -> None:
    first = farm.add("1")
    farm.fail(*farm.dispatch())
    second = farm.add("1-2", all_of("1", "1", job=first), all_of("2", "1"))
    assert farm.states(second, "1-2") == [F, F]
    assert farm.job(second).state is JobState.FAILED
    farm.retry(first)
    assert farm.states(second, "1-2") == [B, B]


def test_what_is_not_there_is_refused_and_leaves_nothing(farm: Chained) -> None:
    first = farm.add("1-2")
    with pytest.raises(NotFound, match=f"frame/1 needs {first}/frame/3, which is not there"):
        farm.add("1", all_of("1", "2-3", job=first))
    for number in (first + 1, first + 50):
        with pytest.raises(NotFound, match=f"there is no job {number}|which is not there"):
            farm.add("1", all_of("1", "1", job=number))
    assert farm.states(farm.add("1"), "1") == [R]


def test_who_waits_for_what_is_said(farm: Chained) -> None:
    job = farm.add("1-4", all_of("4", "1-3"))
    with farm.engine.begin() as connection:
        found = dependencies.waits(connection, job, [4])
    assert views.waits("alpha", farm.frame(job, 4), found[4]) == f"waits for distren://alpha/{job}/frame/1 and 2 more"
    farm.add("1")
    later = farm.add("7", all_of("7", "4", job=job))
    assert views.why_waiting(farm.job(later), Fleet(), 1.0).startswith("1 frames wait for other frames")


def test_a_long_chain_and_a_wide_fan_fail_in_one_turn(farm: Chained) -> None:
    job = farm.add("0-3000", each("1-2000", "0-1999"), all_of("2001-3000", "0"))
    farm.fail(*farm.dispatch())
    assert farm.job(job).counts[F] == 3001
    farm.retry(job, "0")
    assert (farm.job(job).counts[R], farm.job(job).counts[B]) == (1, 3000)
    farm.finish(*farm.dispatch())
    assert (farm.job(job).counts[R], farm.job(job).counts[B]) == (1001, 1999)


def test_a_retry_that_changes_nothing_is_refused(farm: Chained) -> None:
    job = farm.add("1-2", all_of("2", "1"))
    with pytest.raises(Conflict):
        farm.change(lambda lifecycle: lifecycle.retry(job, [range(9, 10)]))


def test_results_come_with_their_sizes(farm: Chained) -> None:
    job = farm.add("1-2", all_of("2", "1"))
    farm.finish(*farm.dispatch())
    with farm.engine.begin() as connection:
        assert dependencies.results(connection, job, 2) == [((job, 1), Blob(digest=BLOB.digest, size=BLOB.size))]
