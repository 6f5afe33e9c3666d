"""Sets of frame ids as people write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distren.domain import frameset
from distren.domain.frameset import LARGEST_FRAME, MOST_FRAMES, FrameSet, check_count, of, parse
from distren.errors import FrameRangeError

small = st.integers(0, 200)
ranges = st.builds(
    lambda first, count, step: range(first, first + count * step, step), small, *[st.integers(1, 30)] * 2
)
sets = st.lists(ranges, min_size=1, max_size=40).map(lambda parts: FrameSet(tuple(parts)))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("7", [7]),
        ("0", [0]),
        ("1-4", [1, 2, 3, 4]),
        ("5-5", [5]),
        ("1-10x3", [1, 4, 7, 10]),
        ("1-9x3", [1, 4, 7]),
        ("7,3,900000", [7, 3, 900000]),
        (" 1-2 , 4 ", [1, 2, 4]),
        ("1-5,3-7", [1, 2, 3, 4, 5, 6, 7]),
        ("001", [1]),
        (str(LARGEST_FRAME), [LARGEST_FRAME]),
    ],
)
def test_a_frame_range_is_read(text: str, ids: list[int]) -> None:
    assert list(parse(text)) == ids


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("5-1", "write 1-5"),
        ("1-5x0", "step of 1 or more"),
        ("one", "no frame range"),
        ("1,,2", "no frame range"),
        ("-1", "no frame range"),
        ("1-2-3", "no frame range"),
        ("1.5", "no frame range"),
        ("١", "no frame range"),
        (str(LARGEST_FRAME + 1), "largest frame number"),
        ("9" * 400, "no frame range"),
    ],
)
def test_what_is_no_frame_range_is_refused_with_advice(text: str, why: str) -> None:
    with pytest.raises(FrameRangeError, match=why):
        parse(text)


@given(sets)
def test_what_is_written_is_read_again(frames: FrameSet) -> None:
    assert parse(str(frames)) == frames
    assert str(parse(str(frames))) == str(frames)


@given(sets)
def test_each_id_comes_once_in_the_order_written(frames: FrameSet) -> None:
    expected = list(dict.fromkeys(number for ids in frames.ranges for number in ids))
    assert list(frames) == expected
    assert len(frames) == len(expected)
    assert (frames.first, frames.last) == (min(expected), max(expected))
    assert all(number in frames for number in expected)
    assert (frames.last + 1) not in frames


@given(st.lists(small, unique=True))
def test_numbers_become_a_set_in_their_order(numbers: list[int]) -> None:
    assert list(of(numbers)) == numbers


def test_a_million_frames_are_one_range() -> None:
    assert of(range(1_000_000)).ranges == (range(1_000_000),)
    assert str(of(range(1_000_000))) == "0-999999"


def test_scattered_ids_do_not_take_longer_and_longer() -> None:
    started = time.process_time()
    frames = of(range(0, 400_000, 2))
    assert len(frames) == len(list(frames)) == 200_000
    overlapping = FrameSet((*frames.ranges, range(1_000)))
    assert len(overlapping) == 200_500
    assert time.process_time() - started < 10  # comparing each id with each range would take hours


def test_more_frames_than_a_job_may_have_are_refused_without_counting_them() -> None:
    assert check_count(parse(f"1-{MOST_FRAMES}"))
    for text in (f"0-{MOST_FRAMES}", f"0-{LARGEST_FRAME}", ",".join([f"0-{LARGEST_FRAME}"] * 1000)):
        with pytest.raises(FrameRangeError, match="split it"):
            check_count(parse(text))
    with pytest.raises(FrameRangeError, match="no frames"):
        check_count(FrameSet(()))


def test_a_large_range_has_a_length_at_once() -> None:
    assert len(parse(f"0-{frameset.LARGEST_FRAME}")) == frameset.LARGEST_FRAME + 1
