"""A job is handed over to a peer: it is there once, with what was done of it, and the old reference leads to it."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from brokers import Broker
from hands import Hands, result_of, submit
from sites import Site, Two, associate, site
from waiting import PATIENCE, wait_for

from distren.broker.management import Management
from distren.client import handing
from distren.domain import frameset
from distren.domain.needs import Needs
from distren.errors import Conflict, JobFileError, NotFound
from distren.federation import health
from distren.wire.jobs import FrameInfo, JobInfo

pytestmark = pytest.mark.usefixtures("soon", "news_alone")


@pytest.fixture(scope="module")
def news_alone() -> Iterator[None]:
    """Who moves a job learns of it by news, and does not ask of itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handing, "ASK_AGAIN", 3_600.0)
        yield


@pytest.fixture(scope="module")
def two(soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, management: Management) -> Iterator[Two]:
    """Two peers that lend nothing; beta takes no more than eight open jobs of alpha."""
    folder, mark = tmp_path_factory.mktemp("sites"), secrets.token_hex(3)
    with (
        site(f"alpha-{mark}", folder, broker, management, lend="never") as alpha,
        site(f"beta-{mark}", folder, broker, management, lend="never", peer_jobs=8) as beta,
    ):
        associate(alpha, beta)
        yield alpha, beta


def move(at: Site, job: int, to: Site) -> int:
    """Hand the job over; its id there."""
    with at.farm() as farm:
        found = farm.job(job)
        found.move(to.name, timeout=PATIENCE)
        assert found.server == to.name
        return found.id


def info(at: Site, job: int) -> JobInfo:
    with at.farm() as farm:
        return farm.job(job).info()


def frames(at: Site, job: int) -> list[FrameInfo]:
    with at.farm() as farm:
        return list(farm.job(job).frames())


def jobs(at: Site) -> list[int]:
    with at.farm() as farm:
        return [one.job for one in farm.jobs()]


def stored(at: Site, digest: str) -> bytes:
    return next(path for path in at.settings.blobs.rglob(digest) if path.is_file()).read_bytes()


def test_what_is_done_goes_along_and_the_rest_is_rendered_there(two: Two) -> None:
    alpha, beta = two
    job = submit(alpha, "1-6")
    with Hands(alpha, slots=1, pause_after=2) as ours:
        wait_for(lambda: info(alpha, job).counts.get("done") == 2 and info(alpha, job).counts.get("rendering"))
        before = {one.frame: one for one in frames(alpha, job) if one.state == "done"}
        there = move(alpha, job, beta)
        assert len(before) == 2
        with Hands(beta) as theirs:
            wait_for(lambda: info(beta, there).state == "done")
            ours.go.set()
    assert set(theirs.done) == set(range(1, 7)) - set(before)
    after = {one.frame: one for one in frames(beta, there)}
    for number, one in after.items():
        assert one.result is not None
        assert stored(beta, one.result.digest) == result_of(number)
    for number, one in before.items():
        assert (after[number].worker, after[number].attempts) == (f"{alpha.name}/{one.worker}", one.attempts)
        assert (after[number].started, after[number].ended) == (one.started, one.ended)
    assert job not in jobs(alpha)
    wait_for(lambda: not rows(alpha, f"SELECT id FROM frames WHERE job = {job}"))


def rows(at: Site, query: str) -> list[object]:
    with at.engine.begin() as connection:
        return list(connection.exec_driver_sql(query))


def test_the_old_reference_leads_to_the_job(two: Two, tmp_path: Path) -> None:
    alpha, beta = two
    job = submit(alpha, "1-3")
    watched: list[JobInfo] = []
    with alpha.farm() as farm:
        followed = farm.job(job)
        watching = threading.Thread(target=lambda: watched.extend(followed.watch(timeout=PATIENCE)))
        watching.start()
        wait_for(lambda: watched)
        there = move(alpha, job, beta)
        with Hands(beta):
            watching.join(PATIENCE)
        assert not watching.is_alive()
        assert (watched[-1].job, watched[-1].state) == (there, "done")
        assert followed.url == f"distren://{beta.name}/{there}"
        old = farm.job(f"distren://{alpha.name}/{job}")
        assert [one.state for one in old.frames()] == ["done"] * 3
        assert old.url == f"distren://{beta.name}/{there}"
        of_frame, number = farm.frame(f"{job}/frame/2")
        assert of_frame.attempts(number)[0].worker.startswith("hands-")
        file = next(one for one in farm.job(job).files() if one.path == "a.pov")
        assert farm.job(job).fetch_file(file.file, tmp_path / "a.pov").bytes == len(b"camera {}")
        output = next(one for one in farm.job(job).files() if one.kind == "output" and one.frame == 2)
        farm.job(job).fetch_file(output.file, tmp_path / "frame")
        assert (tmp_path / "frame").read_bytes() == result_of(2)
        assert farm.job(job).retry("1").job == there
        assert farm.job(job).cancel().job == there
        farm.job(job).delete()
    with beta.farm() as farm:
        with pytest.raises(NotFound):
            farm.job(there).info()
        with pytest.raises(NotFound):
            farm.job(f"distren://{alpha.name}/{job}").info()


def test_a_job_that_was_moved_there_and_back_is_found(two: Two) -> None:
    alpha, beta = two
    job = submit(alpha, "1-2")
    there = move(alpha, job, beta)
    with alpha.farm() as farm:
        found = farm.job(job)
        found.move(alpha.name, timeout=PATIENCE)
        back = found.id
        assert back not in (job, there)
        assert farm.job(job).info().job == back
    with beta.farm() as farm:
        assert farm.job(f"distren://{alpha.name}/{job}").info().job == back
        assert farm.job(there).info().job == back
    with Hands(alpha) as ours:
        wait_for(lambda: info(alpha, job).state == "done")
        assert ours.done == Counter([1, 2])


def test_frames_that_need_others_of_the_job_go_on_there(two: Two) -> None:
    alpha, beta = two
    needs = (
        Needs(frames=frameset.parse("3"), needed=frameset.parse("1-2")),
        Needs(frames=frameset.parse("4"), needed=frameset.parse("3")),
    )
    job = submit(alpha, "1-4,100-500", needs=needs)
    with alpha.farm() as farm, Hands(alpha, slots=1, pause_after=1) as ours:
        wait_for(lambda: ours.done[1])
        farm.job(job).set_priority(70)
        farm.job(job).cancel("4,150-500")
        farm.job(job).pause()
    there = move(alpha, job, beta)
    moved = info(beta, there)
    assert (moved.state, moved.priority) == ("paused", 70)
    assert {one.frame: one.state for one in frames(beta, there)}[4] == "cancelled"
    with Hands(beta) as theirs:
        with beta.farm() as farm:
            farm.job(there).resume()
            farm.job(there).retry("4,150-500")
        wait_for(lambda: info(beta, there).state == "done")
        last = next(render for render in theirs.began if render.frame == 4)
    assert [frame for _, frame, _, _ in last.needs] == [3]


def test_only_a_job_that_stands_alone_and_has_not_ended_is_moved(two: Two) -> None:
    alpha, beta = two
    alone = "only a job that stands alone can be moved"
    needed, gone = submit(alpha, "1"), submit(alpha, "1")
    needing = submit(alpha, "1", needs=(Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=needed),))
    far = Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=gone, server=alpha.name)
    theirs = submit(beta, "1", needs=(far,))
    wait_for(lambda: rows(alpha, "SELECT job FROM watches"))
    with alpha.farm() as farm:
        cases = (
            (needing, beta.name, f"job {needing} needs frames of job {needed}: {alone}"),
            (needed, beta.name, f"job {needing} needs frames of job {needed}: {alone}"),
            (gone, beta.name, f"frames of '{beta.name}' need frames of job {gone}: {alone}"),
        )
        for job, server, line in cases:
            with pytest.raises(Conflict, match=line):
                farm.job(job).move(server)
        with pytest.raises(NotFound, match=f"there is no server 'nobody' here: '{alpha.name}' answers"):
            farm.job(needed).move("nobody")
        with pytest.raises(NotFound, match="there is no job 9999"):
            farm.job(9999).move(beta.name)
        for job in (needing, needed, gone):
            farm.job(job).cancel()
        with pytest.raises(Conflict, match="is cancelled: only a job that has not ended can be moved"):
            farm.job(needed).move(beta.name)
    with beta.farm() as farm:
        farm.job(theirs).cancel()


def test_frames_of_a_job_that_has_moved_are_needed_where_it_is(two: Two) -> None:
    alpha, beta = two
    job = submit(alpha, "1")
    there = move(alpha, job, beta)
    rule = Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=job)
    place = f"distren://{beta.name}/{there}"
    with pytest.raises(JobFileError, match=f"needs frames of job {job}: it is {place} now"):
        submit(alpha, "1", needs=(rule,))
    far = Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=job, server=alpha.name)
    theirs = submit(beta, "1", needs=(far,))
    wait_for(lambda: frames(beta, theirs)[0].state == "failed")
    assert f"it is {place} now, need its frames there" in (frames(beta, theirs)[0].reason or "")
    with beta.farm() as farm:
        farm.job(there).cancel()


def test_what_the_peer_refuses_goes_on_at_home(two: Two) -> None:
    alpha, beta = two
    with beta.farm() as farm:
        for one in list(farm.jobs()):
            if one.state in ("active", "paused"):
                farm.job(one.job).cancel()
    moved = [move(alpha, submit(alpha, "1"), beta) for _ in range(8)]
    job = submit(alpha, "1-2")
    with alpha.farm() as farm:
        refusal = f"'{beta.name}' refuses job {job}: .*takes no more than 8 from a peer"
        farm.job(job).pause()
        with pytest.raises(Conflict, match=refusal):
            farm.job(job).move(beta.name, timeout=PATIENCE)
        assert farm.job(job).resume().state == "active"
        with pytest.raises(Conflict, match=refusal):
            farm.job(job).move(beta.name, timeout=PATIENCE)
        assert farm.job(job).info().state == "active"
        with Hands(alpha):
            wait_for(lambda: farm.job(job).info().state == "done")
    with beta.farm() as farm:
        for one in moved:
            farm.job(one).cancel()


def test_a_job_on_its_way_to_a_peer_that_is_down_waits_and_can_be_kept(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = two
    kept, gone = submit(alpha, "1"), submit(alpha, "1-2")
    beta.stop()
    monkeypatch.setattr(health, "DOWN_AFTER", 3.0)
    wait_for(lambda: not alpha.hears(beta.name))
    with alpha.farm() as farm:
        for job in (kept, gone):
            with pytest.raises(Exception, match="is still on its way"):
                farm.job(job).move(beta.name, timeout=0.1)
        assert f"on its way to '{beta.name}': '{beta.name}' is down" in farm.job(kept).info().error
        with pytest.raises(Conflict, match=f"'distren resume {kept}' keeps it here"):
            farm.job(kept).set_priority(3)
        assert farm.job(kept).resume().state == "active"
        with Hands(alpha):
            wait_for(lambda: farm.job(kept).info().state == "done")
        waits = list[str]()
        moving = farm.job(gone)
        with ThreadPoolExecutor(1) as thread:
            moved = thread.submit(
                moving.move, beta.name, timeout=PATIENCE, on_progress=lambda one: waits.append(one.waits)
            )
            wait_for(lambda: f"'{beta.name}' is down" in "".join(waits))
            monkeypatch.setattr(health, "DOWN_AFTER", 30.0)
            beta.start()
            moved.result(PATIENCE)
        assert moving.server == beta.name
        with Hands(beta) as theirs:
            wait_for(lambda: farm.job(gone).info().state == "done")
            assert theirs.done == Counter([1, 2])
