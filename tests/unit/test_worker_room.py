"""How many frames a worker takes at once."""

from __future__ import annotations

import pytest

from distren.worker.room import Pace, ahead, room


def test_long_frames_are_never_taken_ahead() -> None:
    assert ahead(8, 2.0) == 0
    assert ahead(8, 600.0) == 0


def test_nothing_is_taken_ahead_before_the_first_frame() -> None:
    assert ahead(8, None) == 0


@pytest.mark.parametrize(("mean", "frames"), [(1.0, 1), (0.1, 2), (0.02, 10), (0.001, 16), (0.0, 16)])
def test_two_slots_hold_a_round_trip_of_short_frames_ahead(mean: float, frames: int) -> None:
    assert ahead(2, mean) == frames


def test_a_result_that_is_uploaded_has_room_of_its_own_up_to_the_slots() -> None:
    assert room(2, ahead=0, uploading=1, bare=0) == 3
    assert room(2, ahead=0, uploading=9, bare=0) == 4


def test_a_slot_without_a_delivery_needs_no_consumer() -> None:
    assert room(2, ahead=0, uploading=0, bare=2) == 0


def test_the_mean_follows_a_change_within_a_few_frames() -> None:
    pace = Pace()
    for _ in range(100):
        pace.add(1, 0.01)
    for _ in range(5):
        pace.add(2, 10.0)
    assert pace.mean is not None
    assert pace.mean > 7
    assert pace.of(1) == pytest.approx(0.01)
    assert pace.of(2) == 10.0


def test_the_first_frame_counts_for_little_as_it_loads_the_scene() -> None:
    pace = Pace()
    pace.add(1, 9.0)
    assert pace.mean == 9.0
    pace.add(1, 1.0)
    assert pace.mean == 1.0
    pace.add(1, 3.0)
    assert pace.mean == 1.5


def test_only_the_latest_jobs_are_remembered() -> None:
    pace = Pace()
    for job in range(Pace.JOBS + 1):
        pace.add(job, 1.0)
    assert pace.of(0) is None
    assert pace.of(Pace.JOBS) == 1.0
