"""Three servers in a ring and in a star: frames go to whoever has room, once, and no further."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from brokers import Broker
from hands import Hands, held, submit
from sites import Site, all_jobs, associate, ended, frames, offered, part, site
from waiting import wait_for

from distren.broker.management import Management
from distren.errors import NotFound

pytestmark = pytest.mark.usefixtures("soon")
Three = tuple[Site, Site, Site]


@pytest.fixture(scope="module")
def three(
    soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, management: Management
) -> Iterator[Three]:
    """Three servers that do not know each other; the second one borrows one frame at a time.

    They share a broker, and have all else for themselves.
    """
    folder, mark = tmp_path_factory.mktemp("sites"), secrets.token_hex(3)
    with ExitStack() as stack:
        ada, bob, cyd = (
            stack.enter_context(site(f"{name}-{mark}", folder, broker, management, **settings))
            for name, settings in (("ada", {}), ("bob", {"borrow": 1}), ("cyd", {}))
        )
        yield ada, bob, cyd


@pytest.fixture
def ring(three: Three) -> Iterator[Three]:
    """Each is a peer of both others."""
    ada, bob, cyd = three
    with _associated((ada, bob), (bob, cyd), (cyd, ada)):
        yield three


@pytest.fixture
def star(three: Three) -> Iterator[Three]:
    """The first one is a peer of both others, which do not know each other."""
    ada, bob, cyd = three
    with _associated((bob, ada), (cyd, ada)):
        yield three


@contextmanager
def _associated(*pairs: tuple[Site, Site]) -> Iterator[None]:
    for two in pairs:
        associate(*two)
    yield
    for two in pairs:
        part(*two)


def rendered(*crew: Hands) -> Counter[int]:
    return sum((hand.done for hand in crew), Counter[int]())


def test_the_peer_with_more_room_gets_the_next_frame(ring: Three) -> None:
    ada, bob, cyd = ring
    with Hands(bob, slots=1) as his, Hands(cyd, slots=6) as others:
        wait_for(lambda: offered(ada, cyd) >= offered(ada, bob) + 4 > 4)
        job = submit(ada, "1-4")
        wait_for(lambda: ended(ada, job))
        assert (others.done, his.began) == (Counter(range(1, 5)), [])


def test_in_a_ring_frames_go_to_who_has_room_and_never_on(ring: Three) -> None:
    ada, bob, cyd = ring
    with Hands(ada, slots=1) as hers, Hands(bob, slots=1) as his, Hands(cyd, slots=1) as others:
        his.go.clear()
        wait_for(lambda: offered(ada, bob) > 0 and offered(ada, cyd) > 0)
        own = submit(bob, "501-540")
        wait_for(lambda: offered(ada, bob) == 0)
        job = submit(ada, "1-30")
        wait_for(lambda: ended(ada, job))
        assert hers.done
        assert others.done
        his.go.set()
        wait_for(lambda: ended(bob, own))
        assert rendered(hers, his, others) == Counter([*range(1, 31), *range(501, 541)])
        wait_for(lambda: not any(held(at) for at in ring))


def test_in_a_star_the_centre_renders_for_all_and_passes_nothing_on(star: Three) -> None:
    ada, bob, cyd = star
    with Hands(ada, slots=1) as centre, Hands(bob, slots=1) as his, Hands(cyd, slots=4) as others:
        wait_for(lambda: offered(bob, ada) > 0 and offered(ada, cyd) > 0)
        his.go.clear()
        job = submit(bob, "1-20")
        wait_for(lambda: centre.done)
        his.go.set()
        wait_for(lambda: ended(bob, job))
        assert rendered(centre, his) == Counter(range(1, 21))
        assert not others.began
        assert not any(f"/{bob.name}/" in one.name for one in all_jobs(cyd))


def test_in_a_star_both_others_render_for_the_centre(star: Three) -> None:
    ada, bob, cyd = star
    with Hands(bob, slots=1) as his, Hands(cyd, slots=1) as others:
        wait_for(lambda: offered(ada, bob) > 0 and offered(ada, cyd) > 0)
        his.go.clear()
        others.go.clear()
        job = submit(ada, "1-20")
        wait_for(lambda: his.began and others.began)
        assert ada.peer(bob.name).lent == held(bob) == 1  # that is as much as it borrows
        his.go.set()
        others.go.set()
        wait_for(lambda: ended(ada, job))
        assert rendered(his, others) == Counter(range(1, 21))
        assert {one.worker for one in frames(ada, job)} == {f"{bob.name}/{his.name}", f"{cyd.name}/{others.name}"}
        wait_for(lambda: not any(held(at) for at in star))


def test_in_a_star_nobody_is_asked_through_the_centre(star: Three) -> None:
    ada, bob, cyd = star
    with bob.farm(at=cyd.name) as farm, pytest.raises(NotFound, match=f"and its peers are: {ada.name}$"):
        list(farm.jobs())
