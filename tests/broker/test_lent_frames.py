"""A server lends ready frames to a peer with free slots, and has their results whatever happens on the way."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from brokers import Broker
from hands import Hands, held, result_of, submit
from sites import Site, Two, all_jobs, associate, ended, frames, info, offered, site
from waiting import PATIENCE, wait_for

from distren.broker.management import Management
from distren.domain import frameset
from distren.domain.job import Limits
from distren.domain.needs import Needs
from distren.federation import health
from distren.wire.jobs import WorkerInfo

pytestmark = pytest.mark.usefixtures("soon")


def result(at: Site, job: int, number: int) -> bytes:
    found = next(one for one in frames(at, job) if one.frame == number)
    assert found.result is not None
    path = at.settings.blobs / found.result.digest[:2] / found.result.digest
    paths = [path, *at.settings.blobs.rglob(found.result.digest)]
    return next(path for path in paths if path.is_file()).read_bytes()


@contextmanager
def hands(*wanted: tuple[Site, int]) -> Iterator[list[Hands]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Hands(at, slots=slots)) for at, slots in wanted]


def test_frames_are_rendered_by_both_and_each_result_is_recorded_once(two: Two) -> None:
    alpha, beta = two
    with hands((alpha, 1), (beta, 1)) as (ours, theirs):
        wait_for(lambda: offered(alpha, beta) > 0)
        ours.go.clear()
        job = submit(alpha, "1-40")
        wait_for(lambda: theirs.began)
        ours.go.set()
        wait_for(lambda: ended(alpha, job))
        assert ours.done
        assert theirs.done
        assert ours.done + theirs.done == Counter(range(1, 41))
        assert [result(alpha, job, number) for number in (1, 17, 40)] == [result_of(n) for n in (1, 17, 40)]
        by = {one.worker for one in frames(alpha, job)}
        assert by == {ours.name, f"{beta.name}/{theirs.name}"}
        wait_for(lambda: all(f"/{alpha.name}/{job})" not in one.name for one in all_jobs(beta)))


def test_large_results_are_fetched_by_the_lender(two: Two) -> None:
    alpha, beta = two
    with Hands(beta, slots=1, size=3 * 2**20) as theirs:
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-3")
        wait_for(lambda: ended(alpha, job))
        assert theirs.done == Counter({1: 1, 2: 1, 3: 1})
        assert result(alpha, job, 2) == result_of(2, 3 * 2**20)


def test_results_that_a_frame_needs_are_laid_before_the_peers_renderer(two: Two) -> None:
    alpha, beta = two
    needs = Needs(frames=frameset.parse("3"), needed=frameset.parse("1-2"))
    with Hands(beta, slots=2) as theirs:
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-3", needs=(needs,))
        wait_for(lambda: ended(alpha, job))
        last = next(render for render in theirs.began if render.frame == 3)
        assert [path for path, _, _ in last.placed] == ["frame/1", "frame/2"]


def test_cancel_and_pause_reach_lent_frames(two: Two) -> None:
    alpha, beta = two
    with Hands(beta, slots=1) as theirs:
        theirs.go.clear()
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-6")
        wait_for(lambda: theirs.began)
        with alpha.farm() as farm:
            farm.job(job).set_priority(70)
            wait_for(lambda: [one.priority for one in all_jobs(beta) if f"/{alpha.name}/{job})" in one.name] == [70])
            farm.job(job).pause()
            wait_for(lambda: info(alpha, job).counts.get("queued", 0) == 0)
            farm.job(job).cancel()
        wait_for(lambda: all(one.state != "active" for one in all_jobs(beta)))
        theirs.go.set()
        wait_for(lambda: not held(beta))
        assert info(alpha, job).state == "cancelled"


def test_a_silent_peers_frames_are_issued_again_and_its_late_results_change_nothing(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = two
    monkeypatch.setattr(health, "DOWN_AFTER", 5.0)
    with Hands(beta, slots=2) as theirs:
        theirs.go.clear()
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-4")
        wait_for(lambda: len(theirs.began) == 2)
        beta.stop()
        with Hands(alpha, slots=2) as ours:
            wait_for(lambda: ended(alpha, job))
            assert ours.done == Counter(range(1, 5))
        theirs.go.set()
        wait_for(lambda: sum(theirs.done.values()) >= 2)
        beta.start()
        wait_for(lambda: alpha.hears(beta.name) and beta.hears(alpha.name))
        wait_for(lambda: not held(beta))
        assert {one.attempts for one in frames(alpha, job)} <= {1, 2}
        wait_for(lambda: alpha.peer(beta.name).owed == beta.peer(alpha.name).owed == 0)
        assert {one.worker for one in frames(alpha, job)} == {ours.name}


@pytest.mark.parametrize("which", [0, 1])
def test_a_server_that_is_restarted_meanwhile_loses_nothing(two: Two, which: int) -> None:
    alpha, beta = two
    with Hands(beta, slots=1) as theirs:
        theirs.go.clear()
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-12")
        wait_for(lambda: theirs.began)
        with Hands(alpha, slots=1) as ours:
            two[which].stop()
            theirs.go.set()
            two[which].start()
            wait_for(lambda: ended(alpha, job))
        assert all(one.state == "done" for one in frames(alpha, job))
        assert set(ours.done + theirs.done) == set(range(1, 13))
        wait_for(lambda: not held(beta))


def test_how_far_a_frame_is_at_a_peer_is_known_at_home(two: Two) -> None:
    alpha, beta = two
    with Hands(beta, slots=1) as theirs, alpha.farm() as farm:
        theirs.go.clear()
        wait_for(lambda: offered(alpha, beta) > 0)
        job = farm.job(submit(alpha, "1-2"))
        seen: list[float] = []
        watching = threading.Thread(
            target=lambda: list(job.watch(on_frames=lambda several: seen.extend(one.percent for one in several)))
        )
        watching.start()
        wait_for(lambda: theirs.began)
        wait_for(lambda: theirs.progress(40.0) and job.frame(1).percent == 40.0)
        assert (job.frame(1).state, job.frame(1).worker) == ("rendering", f"{beta.name}/{theirs.name}")
        peer = alpha.peer(beta.name)
        assert peer.lent == 2
        assert peer.room >= 2
        assert peer.renderers == theirs.renderers
        theirs.go.set()
        watching.join(PATIENCE)
        assert 40.0 in seen


def test_what_fails_for_good_at_a_peer_is_not_tried_again(two: Two) -> None:
    alpha, beta = two
    with Hands(beta, slots=1, fails=True, permanent=True):
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1", limits=Limits(attempts=5))
        wait_for(lambda: ended(alpha, job, "failed"))
        with alpha.farm() as farm:
            assert [one.state for one in farm.job(job).attempts(1)] == ["failed"]


def test_a_failure_at_a_peer_counts_at_home(two: Two) -> None:
    alpha, beta = two
    with Hands(beta, slots=1, fails=True):
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1", limits=Limits(attempts=2))
        wait_for(lambda: ended(alpha, job, "failed"))
        with alpha.farm() as farm:
            tried = farm.job(job).attempts(1)
        assert [one.state for one in tried] == ["failed", "failed"]
        assert {one.reason for one in tried} == {"no light"}


def test_a_peer_renders_its_own_jobs_first_and_gives_back_what_waits(two: Two) -> None:
    """The class is a new one: how fast another was in the tests before would decide how many frames it is issued."""
    alpha, beta = two
    with Hands(beta, slots=1, version="3.9") as theirs:
        theirs.go.clear()
        wait_for(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-9")
        wait_for(lambda: theirs.began)
        own = submit(beta, "101-140")
        wait_for(lambda: offered(alpha, beta) == 0)
        wait_for(lambda: info(alpha, job).counts.get("ready", 0) >= 6)
        theirs.go.set()
        wait_for(lambda: ended(beta, own) and ended(alpha, job))
        order = [render.frame for render in theirs.began]
        assert order.index(110) < order.index(9)


def test_other_versions_are_not_lent_to(two: Two) -> None:
    alpha, beta = two
    with Hands(alpha, slots=1) as ours, Hands(beta, slots=4, version="3.8") as theirs:
        wait_for(lambda: list(alpha.server.lending.room) == [f"peer/{beta.name}/{theirs.queue}"])
        wait_for(lambda: ours.name in {one.worker for one in workers(alpha) if one.state == "working"})
        job = submit(alpha, "1-10")
        wait_for(lambda: ended(alpha, job))
        assert ours.done == Counter(range(1, 11))
        assert not theirs.done


def test_a_peer_that_takes_nothing_is_lent_nothing(tmp_path: Path, broker: Broker, management: Management) -> None:
    mark = secrets.token_hex(3)
    with (
        site(f"gamma-{mark}", tmp_path, broker, management, borrow=0) as gamma,
        site(f"delta-{mark}", tmp_path, broker, management, lend="never") as delta,
    ):
        associate(gamma, delta)
        with Hands(gamma, slots=1) as theirs, Hands(delta, slots=1) as own:
            wait_for(lambda: f"peer/{gamma.name}/{theirs.queue}" in delta.server.lending.room)
            wait_for(lambda: offered(gamma, delta) > 0)
            assert offered(delta, gamma) == 0
            job = submit(delta, "1-8")
            other = submit(gamma, "1-8")
            wait_for(lambda: ended(delta, job) and ended(gamma, other))
            assert {one.worker for one in frames(delta, job)} == {own.name}


def workers(at: Site) -> list[WorkerInfo]:
    with at.farm() as farm:
        return farm.workers()
