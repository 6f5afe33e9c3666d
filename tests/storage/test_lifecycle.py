"""What becomes of frames in the database when events arrive, in whatever order."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Literal

import pytest
from sqlalchemy import Connection, Engine

from distren.domain import frameset
from distren.domain.job import Blob, InputFile, JobSpec, Limits
from distren.domain.poison import STOPPED
from distren.domain.states import AttemptState, FrameState, JobState
from distren.errors import Conflict, NotFound
from distren.server import dispatch
from distren.server.fleet import Fleet
from distren.server.judge import Judge
from distren.server.lifecycle import Event, Lifecycle
from distren.server.masschange import PART, MassChange
from distren.storage import attempts as attempt_rows
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage import newjobs
from distren.wire import fields
from distren.wire.frames import Completed, Failed, Render, Report, Started

BLOB = Blob(digest="ab" * 32, size=10)
OTHER = Blob(digest="cd" * 32, size=11)
QUEUE = "frames.default.povray-3.7"


def token() -> str:
    return uuid.uuid4().hex


def add_job(connection: Connection, *, frames: str = "1-3", priority: int = 50, pool: str = "default") -> int:
    spec = JobSpec(
        name="test",
        renderer="povray",
        frames=frameset.parse(frames),
        priority=priority,
        pool=pool,
        limits=Limits(attempts=2),
    )
    inputs = [InputFile(path="scene.pov", blob=BLOB)]
    return newjobs.add(connection, spec, key=token(), manifest=BLOB, inputs=inputs, now=1.0)


def started(job: int, frame: int, *, issue: int = 1, name: str, worker: str = "w1") -> Started:
    return Started(worker=worker, job=job, frame=frame, issue=issue, token=name, started=5.0)


def completed(job: int, frame: int, *, issue: int = 1, name: str, worker: str = "w1", blob: Blob = BLOB) -> Completed:
    return Completed(
        worker=worker,
        job=job,
        frame=frame,
        issue=issue,
        token=name,
        started=5.0,
        seconds=1.5,
        result=fields.Blob.of(blob),
    )


def failed(job: int, frame: int, *, issue: int = 1, name: str, permanent: bool = False) -> Failed:
    return Failed(
        worker="w1",
        job=job,
        frame=frame,
        issue=issue,
        token=name,
        started=5.0,
        seconds=1.0,
        reason="scene.pov line 3: Parse Error",
        permanent=permanent,
        log=b"log",
    )


class Farm:
    """One database, and turns made by hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fleet = Fleet()
        self.now = 10.0
        self.report("w1")

    def report(self, worker: str, *, room: int = 100, pool: str = "default", state: str = "working") -> None:
        self.fleet.hear(
            Report(
                worker=worker,
                host="h",
                pid=1,
                pool=pool,
                queue=QUEUE.replace("default", pool),
                renderers={"povray": "3.7"},
                slots=2,
                room=room,
                state=state,
                held=[],
                cores=2,
                memory=1,
                started=1.0,
                software="0",
            ),
            self.now,
        )

    def submit(self, **options: object) -> int:
        with self.engine.begin() as connection:
            return add_job(connection, **options)  # type: ignore[arg-type]

    def dispatch(self, kills: int = 3) -> list[Render]:
        with self.engine.begin() as connection:
            lifecycle = Lifecycle(connection, self.now)
            judge = Judge(connection, lifecycle, self.fleet, steady=self.now, kills=kills, up=999.0)
            owing = dispatch.fill(connection, lifecycle, self.fleet, now=self.now, steady=self.now, judge=judge)
            lifecycle.save()
        return [Render.expect(body) for _, _, body in owing]

    def apply(self, *events: Event) -> None:
        self.change(lambda lifecycle: lifecycle.apply(events))

    def change(self, action: Callable[[Lifecycle], None]) -> None:
        with self.engine.begin() as connection:
            lifecycle = Lifecycle(connection, self.now)
            action(lifecycle)
            lifecycle.save()

    def change_many(
        self, job: int, action: Literal["cancel", "retry"], frames: str | None = None, most: int = PART
    ) -> list[int]:
        """Change frames as a client asks for it; the frames that workers are told to stop."""
        change = MassChange(job, action, None if frames is None else frameset.parse(frames).ranges)
        done, stopped = False, []
        while not done:
            with self.engine.begin() as connection:
                lifecycle = Lifecycle(connection, self.now)
                done = change.part(connection, lifecycle, most)
                lifecycle.save()
            if (stop := change.stop()) is not None:
                stopped += stop.frames or []
        return stopped

    def frame(self, job: int, number: int) -> frame_rows.Stored:
        with self.engine.begin() as connection:
            return frame_rows.load(connection, [(job, number)])[job, number]

    def job(self, number: int) -> job_rows.Job:
        with self.engine.begin() as connection:
            found = job_rows.by_id(connection, number)
        assert found is not None
        return found

    def attempts(self, job: int, frame: int) -> list[attempt_rows.AttemptRecord]:
        with self.engine.begin() as connection:
            return attempt_rows.of_frame(connection, job, frame)


@pytest.fixture
def farm(engine: Engine) -> Farm:
    return Farm(engine)


def test_a_job_goes_from_ready_to_done(farm: Farm) -> None:
    job = farm.submit()
    renders = farm.dispatch()
    assert [(render.job, render.frame, render.issue) for render in renders] == [(job, 1, 1), (job, 2, 1), (job, 3, 1)]
    assert (renders[0].first, renders[0].last) == (1, 3)
    for number in (1, 2, 3):
        name = token()
        farm.apply(started(job, number, name=name))
        assert farm.frame(job, number).frame.state is FrameState.RENDERING
        farm.apply(completed(job, number, name=name))
    assert farm.job(job).state is JobState.DONE
    assert farm.job(job).counts[FrameState.DONE] == 3
    assert farm.job(job).ended == farm.now
    [attempt] = farm.attempts(job, 2)
    assert (attempt.number, attempt.state, attempt.worker, attempt.seconds) == (1, AttemptState.DONE, "w1", 1.5)


def test_started_and_completed_in_one_turn_are_one_attempt(farm: Farm) -> None:
    job, name = farm.submit(frames="0"), token()
    farm.dispatch()
    farm.apply(started(job, 0, name=name), completed(job, 0, name=name))
    assert farm.job(job).state is JobState.DONE
    assert [attempt.state for attempt in farm.attempts(job, 0)] == [AttemptState.DONE]


def test_the_first_result_wins_and_a_second_is_dropped(farm: Farm) -> None:
    job, first, second = farm.submit(frames="1"), token(), token()
    farm.dispatch()
    farm.apply(completed(job, 1, name=first), completed(job, 1, name=second, worker="w2", blob=OTHER))
    farm.apply(completed(job, 1, name=first, blob=OTHER))
    assert farm.frame(job, 1).frame.result == BLOB
    assert [attempt.state for attempt in farm.attempts(job, 1)] == [AttemptState.DONE, AttemptState.DROPPED]


def test_a_delivery_that_moves_to_another_worker_is_a_new_attempt(farm: Farm) -> None:
    job, first, second = farm.submit(frames="1"), token(), token()
    farm.dispatch()
    farm.apply(started(job, 1, name=first))
    farm.apply(started(job, 1, name=second, worker="w2"))
    assert farm.frame(job, 1).frame.worker == "w2"
    states = [(attempt.number, attempt.worker, attempt.state) for attempt in farm.attempts(job, 1)]
    assert states == [(1, "w1", AttemptState.LOST), (2, "w2", AttemptState.RENDERING)]


def test_a_failed_frame_is_tried_again_later_and_then_fails(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(failed(job, 1, name=token()))
    again = farm.frame(job, 1).frame
    assert again.state is FrameState.READY
    assert again.reason == "scene.pov line 3: Parse Error"
    assert farm.dispatch() == []
    farm.now = again.not_before
    farm.report("w1")
    [render] = farm.dispatch()
    assert render.issue == 2
    farm.apply(failed(job, 1, issue=2, name=token()))
    assert farm.frame(job, 1).frame.state is FrameState.FAILED
    assert farm.job(job).state is JobState.FAILED
    assert [attempt.log for attempt in farm.attempts(job, 1)] == [b"log", b"log"]


def test_a_permanent_failure_gets_no_second_attempt(farm: Farm) -> None:
    job = farm.submit(frames="1-2")
    farm.dispatch()
    farm.apply(failed(job, 1, name=token(), permanent=True))
    assert farm.frame(job, 1).frame.state is FrameState.FAILED
    assert farm.job(job).state is JobState.ACTIVE
    farm.apply(completed(job, 2, name=token()))
    assert farm.job(job).state is JobState.FAILED


def test_a_retry_revives_failed_frames_and_their_job(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(failed(job, 1, name=token(), permanent=True))
    farm.change_many(job, "retry")
    assert farm.job(job).state is JobState.ACTIVE
    [render] = farm.dispatch()
    assert render.issue == 2
    farm.apply(completed(job, 1, issue=2, name=token()))
    assert farm.job(job).state is JobState.DONE


def test_a_retry_of_a_done_job_without_frames_named_is_refused(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(completed(job, 1, name=token()))
    with pytest.raises(Conflict):
        farm.change_many(job, "retry")
    assert farm.job(job).state is JobState.DONE
    farm.change(lambda lifecycle: lifecycle.retry(job, [range(1, 2)]))
    assert farm.job(job).state is JobState.ACTIVE
    assert farm.frame(job, 1).frame.result is None


def test_a_result_for_a_cancelled_frame_is_dropped(farm: Farm) -> None:
    job, name = farm.submit(frames="1-2"), token()
    farm.dispatch()
    farm.apply(started(job, 1, name=name))
    farm.change_many(job, "cancel")
    farm.apply(completed(job, 1, name=name))
    assert farm.frame(job, 1).frame.state is FrameState.CANCELLED
    assert farm.job(job).state is JobState.CANCELLED
    assert farm.job(job).counts[FrameState.CANCELLED] == 2
    assert [attempt.state for attempt in farm.attempts(job, 1)] == [AttemptState.DROPPED]


def test_a_late_result_of_an_earlier_issue_counts(farm: Farm) -> None:
    job, late = farm.submit(frames="1"), token()
    farm.dispatch()
    farm.apply(started(job, 1, name=late))
    farm.change(lambda lifecycle: lifecycle.take_back(farm_stored(lifecycle, job), "lost"))
    farm.dispatch()
    farm.apply(completed(job, 1, issue=1, name=late))
    assert farm.job(job).state is JobState.DONE


def farm_stored(lifecycle: Lifecycle, job: int) -> frame_rows.Stored:
    return frame_rows.load(lifecycle._connection, [(job, 1)])[job, 1]


def test_a_failure_of_an_earlier_issue_counts_for_nothing(farm: Farm) -> None:
    job, late = farm.submit(frames="1"), token()
    farm.dispatch()
    farm.apply(started(job, 1, name=late))
    farm.change(lambda lifecycle: lifecycle.take_back(farm_stored(lifecycle, job), "lost"))
    farm.dispatch()
    farm.apply(failed(job, 1, issue=1, name=late, permanent=True))
    assert farm.frame(job, 1).frame.state is FrameState.QUEUED
    assert farm.frame(job, 1).frame.failures == 0


def test_events_about_unknown_frames_change_nothing(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.apply(completed(job, 99, name=token()), completed(job + 5, 1, name=token()))
    assert farm.job(job).counts[FrameState.READY] == 1


def test_priority_decides_who_is_first_and_pools_keep_apart(farm: Farm) -> None:
    farm.report("w1", room=1)
    low, high = farm.submit(frames="1-9", priority=10), farm.submit(frames="1-9", priority=90)
    elsewhere = farm.submit(frames="1-9", priority=99, pool="gpu")
    jobs = [render.job for render in farm.dispatch()]
    assert jobs == [high] * 3
    assert elsewhere not in jobs
    assert low not in jobs


def test_a_window_holds_what_is_taken_and_one_slot_more_each(farm: Farm) -> None:
    farm.report("w1", room=3)
    farm.submit(frames="1-50")
    assert len(farm.dispatch()) == 5
    assert farm.dispatch() == []


def test_a_paused_job_issues_nothing_until_it_is_resumed(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.change(lambda lifecycle: lifecycle.pause(job))
    assert farm.dispatch() == []
    farm.change(lambda lifecycle: lifecycle.resume(job))
    assert len(farm.dispatch()) == 1


def test_what_is_not_there_is_named(farm: Farm) -> None:
    with pytest.raises(NotFound, match="there is no job 7"):
        farm.change_many(7, "cancel")
    job = farm.submit()
    with pytest.raises(NotFound, match=f"job {job} has no frame 9"):
        farm.change(lambda lifecycle: lifecycle.frame(job, 9) and None)


def killed(farm: Farm, render: Render, *workers: str) -> None:
    """One worker after the other takes a frame and is heard of no more."""
    for worker in workers:
        farm.apply(started(render.job, render.frame, issue=render.issue, name=token(), worker=worker))


def test_a_frame_that_ends_its_workers_fails_with_that_reason_and_can_be_tried_anew(farm: Farm) -> None:
    job = farm.submit(frames="1-2")
    renders = farm.dispatch(kills=3)
    assert renders[0].returns == 3
    killed(farm, renders[0], "a", "b", "c")
    farm.change(lambda lifecycle: lifecycle.come_back(renders[0], "it came back", settle=20.0))
    assert (farm.frame(job, 1).frame.state, farm.dispatch(kills=3)) == (FrameState.READY, [])
    farm.now += 21
    farm.report("w1")
    assert farm.dispatch(kills=3) == []
    frame = farm.frame(job, 1).frame
    assert (frame.state, frame.reason) == (
        FrameState.FAILED,
        "it ended every worker that rendered it, 3 times: a, b, c",
    )
    assert farm.frame(job, 2).frame.state is FrameState.QUEUED
    farm.change(lambda lifecycle: lifecycle.retry(job, [range(1, 2)]))
    [again] = farm.dispatch(kills=3)
    assert again.frame == 1


def test_workers_that_live_or_ended_in_good_order_do_not_speak_against_a_frame(farm: Farm) -> None:
    job = farm.submit(frames="1")
    [render] = farm.dispatch(kills=3)
    killed(farm, render, "a", "b")
    held = farm.frame(job, 1)
    farm.change(lambda lifecycle: lifecycle.requeue(held, STOPPED))
    killed(farm, render, "w1")
    farm.change(lambda lifecycle: lifecycle.come_back(render, "it came back", settle=20.0))
    farm.now += 21
    farm.report("w1")
    [again] = farm.dispatch(kills=2)
    assert again.issue == 2


def test_a_frame_that_comes_back_for_no_reason_uses_up_its_attempts(farm: Farm) -> None:
    job = farm.submit(frames="1")
    for _ in range(2):
        [render] = farm.dispatch(kills=3)
        farm.change(lambda lifecycle, render=render: lifecycle.come_back(render, "it came back", settle=0.0))  # type: ignore[misc]
    assert (farm.frame(job, 1).frame.state, farm.frame(job, 1).frame.reason) == (FrameState.FAILED, "it came back")


def test_a_frame_that_failed_is_left_to_others_where_there_are_any(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(failed(job, 1, name=token()))
    farm.now += 5
    [render] = farm.dispatch()
    assert render.avoid == []
    farm.report("w2")
    held = farm.frame(job, 1)
    farm.change(lambda lifecycle: lifecycle.take_back(held, "test"))
    [render] = farm.dispatch(kills=3)
    assert (render.avoid, render.returns) == (["w1"], 5)


def test_job_ids_are_never_issued_twice_even_after_a_rollback(farm: Farm) -> None:
    first = farm.submit()
    with farm.engine.connect() as connection, connection.begin() as transaction:
        add_job(connection)
        transaction.rollback()
    with farm.engine.begin() as connection:
        connection.execute(job_rows.jobs.delete().where(job_rows.jobs.c.id == first))
    assert farm.submit() > first
