"""What a seed stands for."""

from __future__ import annotations

from typing import Any

import pytest
from trials import schedule, submitter
from trials.peers import schedule as among_peers
from trials.peers.shapes import SHAPES
from trials.schedule import DISKS, WEIGHTS, Kind

FULL = {"frames": 10_000, "faults": 200, "workers": 8}


def test_a_seed_names_one_schedule() -> None:
    assert schedule.plan(seed=7, disks=True, **FULL) == schedule.plan(seed=7, disks=True, **FULL)
    assert schedule.plan(seed=7, disks=True, **FULL) != schedule.plan(seed=8, disks=True, **FULL)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_strikes_before_any_strikes_twice(seed: int) -> None:
    planned = schedule.plan(seed=seed, frames=1_000, faults=len(WEIGHTS), workers=8, disks=True)
    assert {fault.kind for fault in planned} == set(WEIGHTS)


def test_no_disk_is_filled_where_that_can_not_be_done() -> None:
    planned = schedule.plan(seed=1, disks=False, **FULL)
    assert len(planned) == 200
    assert not {fault.kind for fault in planned} & DISKS


@pytest.mark.parametrize("seed", range(20))
def test_faults_strike_in_order_and_while_frames_are_left(seed: int) -> None:
    points = [fault.at for fault in schedule.plan(seed=seed, disks=True, **FULL)]
    assert points == sorted(points)
    assert points[0] >= 500
    assert points[-1] <= 9_000


@pytest.mark.parametrize("frames", [8, 100, 1_000, 10_000])
def test_the_jobs_have_all_frames_between_them(frames: int) -> None:
    sizes = submitter.sizes(3, frames)
    assert sum(sizes) == frames
    assert len(sizes) > 1
    assert min(sizes) > 0


@pytest.mark.parametrize("shape", SHAPES.values())
@pytest.mark.parametrize("seed", range(5))
def test_among_servers_a_seed_names_one_schedule_of_faults_between_peers(seed: int, shape: Any) -> None:
    shape = shape(3)
    full = {"seed": seed, "frames": 1_000, "faults": 40, "shape": shape, "workers": 2}
    planned = among_peers.plan(**full)
    assert planned == among_peers.plan(**full)
    assert {fault.kind for fault in planned} == set(among_peers.WEIGHTS)
    assert all(fault.site in shape.names for fault in planned)
    assert all(fault.peer is None or fault.peer in shape.neighbours(fault.site) for fault in planned)
    cuts = [fault.seconds for fault in planned if fault.kind in (Kind.CUT_LINE, Kind.HOLE_LINE)]
    assert all(10.0 <= seconds <= 60.0 for seconds in cuts)


def test_in_a_ring_all_are_neighbours_of_two_and_in_a_star_of_the_centre() -> None:
    assert [SHAPES["ring"](4).neighbours(name) for name in ("alpha", "gamma")] == [["beta", "delta"]] * 2
    assert SHAPES["star"](3).neighbours("alpha") == ["beta", "gamma"]
    assert SHAPES["star"](3).neighbours("gamma") == ["alpha"]
