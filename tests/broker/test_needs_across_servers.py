"""A frame that needs a frame of another server waits for it, has its files, and follows it when that fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from brokers import Broker
from hands import Hands, needing, submit
from sites import Site, Two, pair
from waiting import wait_for

from distren.domain import frameset
from distren.domain.job import Limits
from distren.domain.needs import Needs
from distren.errors import JobFileError
from distren.federation import health
from distren.wire.jobs import FrameInfo

pytestmark = pytest.mark.usefixtures("soon")


@pytest.fixture(scope="module")
def two(soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Two]:
    """Two peers that lend nothing; they share a broker, and have all else for themselves."""
    with pair(tmp_path_factory.mktemp("sites"), broker, broker, lend="never") as made:
        yield made


def frame(at: Site, job: int, number: int) -> FrameInfo:
    with at.farm() as farm:
        return farm.job(job).frame(number)


def next_job(at: Site) -> int:
    """The id that the next job of a site will have."""
    with at.engine.begin() as connection:
        found = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").scalar() or 0
        return int(found) + 1


def test_the_result_of_a_frame_elsewhere_is_laid_before_the_renderer(two: Two) -> None:
    alpha, beta = two
    job = submit(beta, "3-4")
    mine = submit(alpha, "1-2", needs=needing("1", beta, job, "3-4"))
    assert frame(alpha, mine, 1).state == "blocked"
    assert f"waits for distren://{beta.name}/{job}/frame/3 and 1 more" in (frame(alpha, mine, 1).reason or "")
    with Hands(alpha) as ours, Hands(beta):
        wait_for(lambda: frame(alpha, mine, 1).state == "done")
        render = next(one for one in ours.began if one.frame == 1)
    assert [path for path, _, _ in render.placed] == [f"{beta.name}/{job}/frame/{number}" for number in (3, 4)]
    assert all(list(alpha.settings.blobs.rglob(digest)) for _, digest, _ in render.placed)


def test_a_failure_elsewhere_is_one_here_and_a_retry_there_revives(two: Two) -> None:
    alpha, beta = two
    job = submit(beta, "1", limits=Limits(attempts=1))
    mine = submit(alpha, "1", needs=needing("1", beta, job, "1"))
    with Hands(beta, fails=True):
        wait_for(lambda: frame(alpha, mine, 1).state == "failed")
    reason = frame(alpha, mine, 1).reason or ""
    assert reason == f"needs distren://{beta.name}/{job}/frame/1, which failed: no light"
    with beta.farm() as farm:
        farm.job(job).retry()
    wait_for(lambda: frame(alpha, mine, 1).state == "blocked")
    with Hands(alpha), Hands(beta):
        wait_for(lambda: frame(alpha, mine, 1).state == "done")


def test_a_job_that_is_not_there_yet_is_waited_for(two: Two) -> None:
    alpha, beta = two
    later = next_job(beta)
    mine = submit(alpha, "1", needs=needing("1", beta, later, "7"))
    assert submit(beta, "7") == later
    with Hands(alpha), Hands(beta):
        wait_for(lambda: frame(alpha, mine, 1).state == "done")


def test_a_server_that_is_down_is_waited_for_and_named(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta = two
    job = submit(beta, "1")
    beta.stop()
    monkeypatch.setattr(health, "DOWN_AFTER", 3.0)
    mine = submit(alpha, "1", needs=needing("1", beta, job, "1"))
    wait_for(lambda: f"'{beta.name}' is down since 2" in (frame(alpha, mine, 1).reason or ""))
    with monkeypatch.context() as patched:
        patched.setattr(alpha.server.lending.far, "hours", 0.001)
        wait_for(lambda: frame(alpha, mine, 1).state == "failed")
    assert f"'{beta.name}' is down since 2" in (frame(alpha, mine, 1).reason or "")
    monkeypatch.setattr(health, "DOWN_AFTER", 20.0)
    beta.start()
    with Hands(alpha), Hands(beta):
        wait_for(lambda: frame(alpha, mine, 1).state == "done")


def test_what_does_not_come_is_waited_for_for_a_limited_time(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, beta = two
    later = next_job(beta)
    mine = submit(alpha, "1", needs=needing("1", beta, later, "7"))
    wait_for(lambda: "it has no such frame yet" in (frame(alpha, mine, 1).reason or ""))
    monkeypatch.setattr(alpha.server.lending.far, "hours", 0.001)
    wait_for(lambda: frame(alpha, mine, 1).state == "failed")
    place = f"distren://{beta.name}/{later}/frame/7"
    why = f"needs {place}, which failed: it has no such frame yet, and it was waited for for 0.001 h"
    assert frame(alpha, mine, 1).reason == why
    monkeypatch.undo()
    with alpha.farm() as farm:
        farm.job(mine).cancel()


def test_a_cycle_across_servers_fails_and_is_printed(two: Two) -> None:
    alpha, beta = two
    later = next_job(beta) + 1  # one is taken by what stands for alpha's job there
    mine = submit(alpha, "1", needs=needing("1", beta, later, "1"))
    theirs = submit(beta, "1", needs=needing("1", alpha, mine, "1"))
    assert theirs == later
    wait_for(lambda: frame(alpha, mine, 1).state == frame(beta, theirs, 1).state == "failed")
    one, other = f"distren://{alpha.name}/{mine}/frame/1", f"distren://{beta.name}/{theirs}/frame/1"
    reasons = f"{frame(alpha, mine, 1).reason} {frame(beta, theirs, 1).reason}"
    assert f"in a cycle: {one} → {other} → {one}" in reasons or f"in a cycle: {other} → {one} → {other}" in reasons


def test_frames_of_a_server_that_is_no_peer_are_refused(two: Two) -> None:
    alpha, beta = two
    rules = (Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=1, server="nobody"),)
    with pytest.raises(JobFileError, match=f"'nobody', which is no peer of '{alpha.name}'; its peers are: {beta.name}"):
        submit(alpha, "1", needs=rules)
