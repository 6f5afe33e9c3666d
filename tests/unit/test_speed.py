"""How fast a class of workers is, and how many frames are issued to it ahead because of that."""

from __future__ import annotations

import pytest

from distren.server.dispatch import window
from distren.server.fleet import Fleet, WorkerClass

QUEUE = "frames.default.povray"


def _class(slots: int, room: int | None = None) -> WorkerClass:
    return WorkerClass(queue=QUEUE, pool="default", renderers={}, room=slots if room is None else room, slots=slots)


def _finish(fleet: Fleet, *, every: float, until: float, frames: int = 1) -> None:
    for number in range(round(until / every) + 1):
        fleet.finished(QUEUE, frames, number * every)


def test_nothing_is_known_before_the_second_result() -> None:
    fleet = Fleet()
    assert fleet.rate(QUEUE, 0.0) is None
    fleet.finished(QUEUE, 40, 1.0)
    assert fleet.rate(QUEUE, 1.0) is None


def test_a_class_that_has_just_finished_a_slow_frame_is_no_faster_for_that() -> None:
    fleet = Fleet()
    _finish(fleet, every=30.0, until=600.0)
    assert fleet.rate(QUEUE, 600.0) == pytest.approx(1 / 30)
    assert fleet.rate(QUEUE, 615.0) < 1 / 30


def test_a_class_that_became_fast_is_known_to_be_within_seconds() -> None:
    fleet = Fleet()
    _finish(fleet, every=10.0, until=100.0)
    for number in range(600):
        fleet.finished(QUEUE, 1, 110.0 + number / 100)
    assert fleet.rate(QUEUE, 116.0) == pytest.approx(100, rel=0.05)


def test_as_much_is_issued_ahead_as_the_class_renders_in_a_second() -> None:
    assert window(_class(8), None) == 16
    assert window(_class(8), 0.1) == 9
    assert window(_class(2), 150.0) == 152
    assert window(_class(2), 1e6) == 5_000
