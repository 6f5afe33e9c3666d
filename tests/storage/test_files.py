"""Ids of jobs and files: given once, kept for ever, whatever is retried, deleted, rolled back or started anew."""

from __future__ import annotations

import threading
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from distren.domain.states import JobState
from distren.errors import Conflict, NotFound
from distren.server import deletion
from distren.server.lifecycle import Lifecycle
from distren.storage import files
from distren.storage import jobs as job_rows
from distren.storage.engine import open_engine
from tests.storage.test_lifecycle import BLOB, OTHER, Farm, add_job, completed, failed, token


@pytest.fixture
def farm(engine: Engine) -> Farm:
    return Farm(engine)


def listed(farm: Farm, job: int, *, after: int = -1, limit: int = 100) -> list[files.File]:
    with farm.engine.begin() as connection:
        return files.of_job(connection, job, after=after, limit=limit)[0]


def delete(farm: Farm, job: int, *, force: bool = False) -> None:
    with farm.engine.begin() as connection:
        lifecycle = Lifecycle(connection, farm.now)
        deletion.delete(connection, lifecycle, job, force=force, now=farm.now)
        lifecycle.save()


def swept(farm: Farm) -> None:
    while True:
        with farm.engine.begin() as connection:
            if not deletion.remove_some(connection):
                return


def test_results_and_logs_have_ids_after_inputs_and_bundle(farm: Farm) -> None:
    job = farm.submit(frames="5,3")
    assert [(file.id, file.kind) for file in listed(farm, job)] == [(0, "input"), (1, "bundle")]
    farm.dispatch()
    farm.apply(completed(job, 5, name=token()).model_copy(update={"log": zlib.compress(b"hello")}))
    farm.apply(failed(job, 3, name=token()).model_copy(update={"log": zlib.compress(b"no")}))
    found = listed(farm, job)
    assert [(file.id, file.kind, file.path) for file in found[2:]] == [
        (2, "output", "frames/frame-5-1.tar"),
        (3, "log", "frames/frame-5-1.log"),
        (5, "log", "frames/frame-3-1.log"),
    ]
    assert found[2].blob == BLOB
    assert found[3].blob is not None
    assert found[3].blob.size == 5


def test_a_retry_makes_new_files_and_keeps_the_old_ones(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(completed(job, 1, name=token()))
    before = listed(farm, job)
    farm.change(lambda lifecycle: lifecycle.retry(job, [range(1, 2)]))
    assert listed(farm, job) == before
    farm.dispatch()
    farm.apply(completed(job, 1, issue=2, name=token(), blob=OTHER))
    after = listed(farm, job)
    assert after[: len(before)] == before
    assert [file.blob for file in after if file.kind == "output"] == [BLOB, OTHER]


def test_files_are_listed_page_by_page(farm: Farm) -> None:
    job = farm.submit(frames="1-9")
    farm.dispatch()
    farm.apply(*(completed(job, n, name=token()).model_copy(update={"log": zlib.compress(b"x")}) for n in range(1, 10)))
    every, after = listed(farm, job), -1
    assert len(every) == 2 + 18
    for size in (1, 2, 3, 7):
        paged: list[files.File] = []
        after, more = -1, True
        while more:
            with farm.engine.begin() as connection:
                page, more = files.of_job(connection, job, after=after, limit=size)
            paged += page
            after = page[-1].id
        assert paged == every


def test_a_damaged_log_is_listed_as_an_empty_one(farm: Farm) -> None:
    job = farm.submit(frames="1")
    farm.dispatch()
    farm.apply(failed(job, 1, name=token()))  # its log is no zlib
    assert [file.blob.size for file in listed(farm, job) if file.kind == "log" and file.blob] == [0]


def test_a_job_that_goes_on_is_deleted_by_force_only(farm: Farm) -> None:
    job = farm.submit(frames="1-3")
    with pytest.raises(Conflict, match="cancel it first, or delete it with --force"):
        delete(farm, job)
    [*_, render] = farm.dispatch()
    delete(farm, job, force=True)
    with farm.engine.begin() as connection, pytest.raises(NotFound, match=f"there is no job {job}"):
        Lifecycle(connection, 1.0).shown_job(job)
    farm.apply(completed(job, render.frame, name=token()))  # a worker that has not heard of it
    assert farm.dispatch() == []
    swept(farm)
    farm.apply(completed(job, render.frame, name=token()))
    with farm.engine.begin() as connection:
        assert job_rows.by_id(connection, job) is None
        assert job_rows.newest(connection, before=None, limit=9) == []
    assert farm.submit(frames="1") > job


class Ids:
    """Jobs that come and go, and every file id that was ever seen."""

    def __init__(self, engine: Engine) -> None:
        self.farm, self.engine = Farm(engine), engine
        self.seen: dict[int, dict[int, files.File]] = {}
        with engine.begin() as connection:
            self.highest = max((job.id for job in job_rows.newest(connection, before=None, limit=9)), default=-1)

    def submit(self) -> None:
        job = self.farm.submit(frames="7,3")
        assert job > self.highest
        self.highest = job
        self.seen[job] = {}

    def roll_back(self) -> None:
        with self.engine.connect() as connection, connection.begin() as transaction:
            add_job(connection)
            transaction.rollback()

    def restart(self) -> None:
        self.engine.dispose()
        self.farm = Farm(self.engine)

    def sweep(self) -> None:
        swept(self.farm)

    def delete(self) -> None:
        if self.seen:
            job = next(iter(self.seen))
            delete(self.farm, job, force=True)
            del self.seen[job]

    def render(self) -> None:
        renders = self.farm.dispatch()
        self.farm.apply(*(completed(one.job, one.frame, issue=one.issue, name=token()) for one in renders))

    def retry(self) -> None:
        for job in self.seen:
            if self.farm.job(job).state is JobState.DONE:
                self.farm.change(lambda lifecycle, job=job: lifecycle.retry(job, [range(10)]))  # type: ignore[misc]

    def check(self) -> None:
        """What was seen once is still there and the same."""
        for job, before in self.seen.items():
            now = {file.id: file for file in listed(self.farm, job)}
            assert before.items() <= now.items()
            self.seen[job] = now


STEPS = ("submit", "roll_back", "restart", "sweep", "delete", "render", "retry")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=30))
def test_no_id_is_given_twice_whatever_happens(engine: Engine, steps: list[str]) -> None:
    ids = Ids(engine)
    for step in ["submit", *steps, "submit"]:
        getattr(ids, step)()
        ids.check()
    while ids.seen:
        ids.delete()
    ids.sweep()


def test_concurrent_submits_get_ids_of_their_own(engine: Engine) -> None:
    found: list[int] = []

    def submit() -> None:
        own = open_engine(str(engine.url.render_as_string(hide_password=False)))
        for number in range(5):
            with own.connect() as connection, connection.begin() as transaction:
                job = add_job(connection)
                if number % 2:
                    transaction.rollback()
                else:
                    found.append(job)
        own.dispose()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 12
