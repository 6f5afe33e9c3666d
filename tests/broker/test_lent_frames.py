"""A server lends ready frames to a peer with free slots, and has their results whatever happens on the way."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from brokers import Broker
from hands import Hands, result_of, submit
from sites import Site, associate, site, until

from distren.broker.management import Management
from distren.federation import health, sender
from distren.server import borrower, federation, lender
from distren.wire.jobs import FrameInfo, JobInfo

Two = tuple[Site, Site]


@pytest.fixture(scope="module")
def two(
    tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker, management: Management
) -> Iterator[Two]:
    """Two peers, on two brokers."""
    folder, mark = tmp_path_factory.mktemp("sites"), secrets.token_hex(3)
    with (
        other_broker.management() as api,
        site(f"alpha-{mark}", folder, other_broker, api) as alpha,
        site(f"beta-{mark}", folder, broker, management) as beta,
    ):
        associate(alpha, beta)
        yield alpha, beta


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes a second."""
    monkeypatch.setattr(sender, "FIRST_PATIENCE", 1.0)
    monkeypatch.setattr(federation, "LOOK_EVERY", 0.5)
    monkeypatch.setattr(federation, "HELLO_EVERY", 1.0)
    monkeypatch.setattr(health, "DOWN_AFTER", 5.0)
    monkeypatch.setattr(lender, "SILENT_AFTER", 5.0)
    monkeypatch.setattr(lender, "REFUSED_FOR", 2.0)
    monkeypatch.setattr(borrower, "GIVE_BACK_AFTER", 2.0)


def info(at: Site, job: int) -> JobInfo:
    with at.farm() as farm:
        return farm.job(job).info()


def frames(at: Site, job: int) -> list[FrameInfo]:
    with at.farm() as farm:
        return list(farm.job(job).frames())


def ended(at: Site, job: int, state: str = "done") -> bool:
    found = info(at, job).state
    assert found in ("active", "paused", state)
    return found == state


def result(at: Site, job: int, number: int) -> bytes:
    found = next(one for one in frames(at, job) if one.frame == number)
    assert found.result is not None
    path = at.settings.blobs / found.result.digest[:2] / found.result.digest
    paths = [path, *at.settings.blobs.rglob(found.result.digest)]
    return next(path for path in paths if path.is_file()).read_bytes()


def offered(at: Site, peer: Site) -> int:
    """How many frames `peer` takes, as far as `at` knows."""
    offers = at.server.lent_room()
    return sum(room for queue, room in offers.items() if queue.startswith(f"peer/{peer.name}/"))


@contextmanager
def hands(*wanted: tuple[Site, int]) -> Iterator[list[Hands]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Hands(at, slots=slots)) for at, slots in wanted]


def test_frames_are_rendered_by_both_and_each_result_is_recorded_once(two: Two) -> None:
    alpha, beta = two
    with hands((alpha, 1), (beta, 1)) as (ours, theirs):
        until(lambda: offered(alpha, beta) > 0)
        job = submit(alpha, "1-40")
        until(lambda: ended(alpha, job))
        assert ours.done
        assert theirs.done
        assert ours.done + theirs.done == Counter(range(1, 41))
        assert [result(alpha, job, number) for number in (1, 17, 40)] == [result_of(n) for n in (1, 17, 40)]
        by = {one.worker for one in frames(alpha, job)}
        assert by == {ours.name, f"{beta.name}/{theirs.name}"}
        until(lambda: all(f"/{alpha.name}/{job})" not in one.name for one in all_jobs(beta)))


def all_jobs(at: Site) -> list[JobInfo]:
    with at.farm() as farm:
        return list(farm.jobs())
