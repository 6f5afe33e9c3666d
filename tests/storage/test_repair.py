"""What a half-made change, a restored copy or an operator's SQL has left is found and mended, and said."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from test_dependencies import Chained, all_of
from test_lifecycle import started, token

from distren.domain.states import AttemptState, FrameState, JobState
from distren.server.repair import Repair
from distren.server.waterline import Waterline
from distren.storage import jobs as job_rows


def repaired(farm: Chained) -> list[str]:
    with farm.engine.begin() as connection:
        return Repair().run(connection, farm.now, farm.now)


def broken(farm: Chained, *statements: str) -> None:
    with farm.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_farm_that_is_whole_is_left_alone(engine: Engine) -> None:
    farm = Chained(engine)
    job = farm.add("1-3", all_of("3", "1-2"))
    farm.dispatch()
    farm.apply(started(job, 1, name=token()))
    assert repaired(farm) == []


def test_wrong_counts_waits_queues_and_attempts_are_mended(engine: Engine) -> None:
    farm = Chained(engine)
    job = farm.add("1-4", all_of("3", "1-2"))
    renders, name = farm.dispatch(), token()
    farm.apply(started(job, 1, name=name))
    farm.finish(renders[1])
    broken(
        farm,
        "UPDATE frames SET state = 'ready', token = NULL WHERE id = 1",
        "UPDATE frames SET waits_for = 5 WHERE id = 3",
    )
    said = repaired(farm)
    assert said == [
        "1 attempts had no frame any more",
        "1 frames named a queue in vain",
        f"{job}/frame/3 waits for 1 frames",
        f"job {job} counted its frames wrongly",
    ]
    assert repaired(farm) == []
    farm.check_counts(job, "1-4")
    assert farm.frame(job, 3).frame.waits_for == 1
    [attempt] = farm.attempts(job, 1)
    assert attempt.state is AttemptState.LOST


def test_a_job_whose_frames_have_all_ended_ends(engine: Engine) -> None:
    farm = Chained(engine)
    job = farm.add("1-2")
    broken(farm, "UPDATE frames SET state = 'cancelled'")
    assert f"job {job} is failed" in repaired(farm)
    assert (farm.job(job).state, farm.job(job).counts[FrameState.CANCELLED]) == (JobState.FAILED, 2)


def test_a_restored_copy_gives_no_number_out_again(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    farm = Chained(engine)

    def begin(term: int) -> tuple[Waterline, int]:
        line = Waterline(tmp_path)
        with engine.begin() as connection:
            return line, line.begin(connection, term)

    assert begin(1)[1] == 1
    line, _ = begin(2)
    jobs = [farm.add("1") for _ in range(3)]
    for job in jobs:
        line.note(job)
    assert begin(3)[1] == 3
    assert "older copy" not in caplog.text
    with engine.begin() as connection:  # a copy of the time before the last two jobs and the last term
        connection.execute(text("DELETE FROM jobs WHERE id > 1"))
        job_rows.start_above(connection, jobs[0])
    assert begin(3)[1] == 4
    assert "older copy" in caplog.text
    assert farm.add("1") > jobs[-1]


def test_a_copy_of_the_same_term_gives_no_number_out_again(engine: Engine, tmp_path: Path) -> None:
    farm, line = Chained(engine), Waterline(tmp_path)
    with engine.begin() as connection:
        line.begin(connection, 1)
    jobs = [farm.add("1") for _ in range(3)]
    for job in jobs:
        line.note(job)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE id > 1"))
        job_rows.start_above(connection, jobs[0])
        assert Waterline(tmp_path).begin(connection, 2) == 2
    assert farm.add("1") > jobs[-1]


def test_the_number_of_a_deleted_job_is_no_older_copy(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    farm, line = Chained(engine), Waterline(tmp_path)
    with engine.begin() as connection:
        line.begin(connection, 1)
    job = farm.add("1")
    line.note(job)
    line.note(job + 1)  # and one whose commit never came
    broken(farm, f"DELETE FROM jobs WHERE id = {job}")
    with engine.begin() as connection:
        Waterline(tmp_path).begin(connection, 2)
    assert "older copy" not in caplog.text
    assert farm.add("1") > job + 1
