"""When frames are lent, to whom, and by what names."""

from __future__ import annotations

import pytest

from distren.domain import lending
from distren.errors import DecodeError

INFINITE = float("inf")


def test_the_queue_of_a_peer_names_it_and_is_none_of_ours() -> None:
    queue = lending.queue("beta.example", "frames.default.povray-3.7/x")
    assert lending.peer_of(queue) == "beta.example"
    assert lending.peer_of("frames.default.povray-3.7") is None
    assert lending.peer_of(None) is None


@pytest.mark.parametrize(
    ("eagerness", "backlog", "lends"),
    [
        ("never", INFINITE, False),
        ("always", None, True),
        (10.0, None, False),
        (10.0, 599.0, False),
        (10.0, 601.0, True),
        (10.0, INFINITE, True),
        (0.0, 1.0, True),
    ],
)
def test_lent_is_by_the_work_that_waits(eagerness: lending.Eagerness, backlog: float | None, lends: bool) -> None:
    assert lending.is_eager(eagerness, backlog) is lends


def test_a_peer_has_the_version_of_our_own_workers_where_we_have_any() -> None:
    offered = {"povray": "3.7"}
    assert lending.suits("povray", offered, {"3.7", "3.8"})
    assert lending.suits("povray", offered, set())
    assert not lending.suits("povray", offered, {"3.8"})
    assert not lending.suits("blender", offered, set())


@pytest.mark.parametrize("path", ["frame/3", "5/frame/3", "beta/5/frame/3", "beta.example/0/frame/0"])
def test_places_of_results(path: str) -> None:
    assert lending.place(path) == path


@pytest.mark.parametrize(
    "path", ["", "frame", "/frame/3", "../frame/3", "a/../frame/3", "..//frame/3", "x/5/frame/3/y"]
)
def test_what_is_no_place_is_refused(path: str) -> None:
    with pytest.raises(DecodeError, match="no proper place"):
        lending.place(path)
