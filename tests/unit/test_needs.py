"""Dependencies of frames: cycles are found and printed, ranges are counted and cut without being written out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distren.domain import frameset, needs
from distren.domain.frameset import FrameSet
from distren.domain.needs import Needs
from distren.errors import JobFileError


def pairs(*listed: tuple[int, int]) -> Needs:
    frames, needed = (FrameSet(tuple(range(n, n + 1) for n in side)) for side in zip(*listed, strict=True))
    return Needs(frames=frames, needed=needed, pairs=True)


def rule(frames: str, needed: str, *, job: int | None = None) -> Needs:
    return Needs(frames=frameset.parse(frames), needed=frameset.parse(needed), job=job)


def test_each_frame_needs_all_or_the_one_at_its_place() -> None:
    assert list(rule("7,8", "1-2")) == [(7, 1), (7, 2), (8, 1), (8, 2)]
    assert list(pairs((7, 1), (7, 2), (3, 9))) == [(7, 1), (7, 2), (3, 9)]
    assert rule("1-1000000", "1-1000000").count == 10**12


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20))
def test_a_cycle_is_found_where_there_is_one_and_it_is_one(listed: list[tuple[int, int]]) -> None:
    frames = frameset.parse("0-8")
    try:
        needs.check(frames, [pairs(*listed)])
    except JobFileError as error:
        cycle = [int(part.removeprefix("frame/")) for part in str(error).rpartition(": ")[2].split(" → ")]
        assert cycle[0] == cycle[-1]
        assert set(itertools.pairwise(cycle)) <= set(listed)
    else:
        left = set(listed)
        while leaves := {edge for edge in left if edge[1] not in {frame for frame, _ in left}}:
            left -= leaves
        assert not left


def test_frames_of_another_job_with_the_same_ids_are_no_cycle() -> None:
    needs.check(frameset.parse("1-3"), [rule("1-3", "1-3", job=7)])


def test_a_long_cycle_is_printed_in_one_short_line() -> None:
    with pytest.raises(JobFileError) as caught:
        needs.check(frameset.parse("0-99999"), [pairs((0, 99_999)), rule("1-99999", "0")])
    assert "frame/0 → frame/99999 → frame/0" in str(caught.value)
    chain = Needs(frames=frameset.parse("0-99998"), needed=frameset.parse("1-99999"), pairs=True)
    needs.check(frameset.parse("0-99999"), [chain])
    with pytest.raises(JobFileError) as caught:
        needs.check(frameset.parse("0-99999"), [chain, pairs((99_999, 0))])
    assert len(str(caught.value)) < 500


def test_needs_of_frames_that_are_left_out_are_dropped() -> None:
    kept = needs.restricted([rule("7,8", "1-2"), pairs((7, 1), (9, 3)), rule("9", "1")], frameset.parse("1-7"))
    assert [list(one) for one in kept] == [[(7, 1), (7, 2)], [(7, 1)]]
