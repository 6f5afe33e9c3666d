"""The transition tables of frames and jobs, the retry rule, and when a job ends."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distren.domain.progress import Counts, outcome
from distren.domain.retries import LONGEST_WAIT, retry_at
from distren.domain.states import (
    FRAME_ENDED,
    ISSUED,
    JOB_ENDED,
    NEXT,
    NEXT_JOB,
    FrameState,
    JobState,
    check,
    check_job,
)
from distren.errors import Conflict

F, J = FrameState, JobState
FRAME_MOVES = {
    (F.BLOCKED, F.READY),
    (F.BLOCKED, F.DONE),
    (F.BLOCKED, F.FAILED),
    (F.BLOCKED, F.CANCELLED),
    (F.READY, F.BLOCKED),
    (F.READY, F.QUEUED),
    (F.READY, F.DONE),
    (F.READY, F.FAILED),
    (F.READY, F.CANCELLED),
    (F.QUEUED, F.RENDERING),
    (F.QUEUED, F.BLOCKED),
    (F.QUEUED, F.READY),
    (F.QUEUED, F.DONE),
    (F.QUEUED, F.FAILED),
    (F.QUEUED, F.CANCELLED),
    (F.RENDERING, F.QUEUED),
    (F.RENDERING, F.BLOCKED),
    (F.RENDERING, F.READY),
    (F.RENDERING, F.DONE),
    (F.RENDERING, F.FAILED),
    (F.RENDERING, F.CANCELLED),
    (F.DONE, F.READY),
    (F.DONE, F.BLOCKED),
    (F.FAILED, F.READY),
    (F.FAILED, F.BLOCKED),
    (F.CANCELLED, F.READY),
    (F.CANCELLED, F.BLOCKED),
}
JOB_MOVES = {
    (J.ACTIVE, J.PAUSED),
    (J.ACTIVE, J.DONE),
    (J.ACTIVE, J.FAILED),
    (J.ACTIVE, J.CANCELLED),
    (J.PAUSED, J.ACTIVE),
    (J.PAUSED, J.DONE),
    (J.PAUSED, J.FAILED),
    (J.PAUSED, J.CANCELLED),
    (J.DONE, J.ACTIVE),
    (J.FAILED, J.ACTIVE),
    (J.FAILED, J.CANCELLED),
    (J.CANCELLED, J.ACTIVE),
}


@pytest.mark.parametrize(("old", "new"), list(product(FrameState, FrameState)))
def test_a_frame_moves_only_as_the_table_says(old: FrameState, new: FrameState) -> None:
    if (old, new) in FRAME_MOVES:
        assert check(old, new) is new
    else:
        with pytest.raises(Conflict, match=f"a frame that is {old} can not become {new}"):
            check(old, new)


@pytest.mark.parametrize(("old", "new"), list(product(JobState, JobState)))
def test_a_job_moves_only_as_the_table_says(old: JobState, new: JobState) -> None:
    if (old, new) in JOB_MOVES:
        assert check_job(old, new) is new
    else:
        with pytest.raises(Conflict, match=f"a job that is {old} can not become {new}"):
            check_job(old, new)


def test_both_tables_name_every_state() -> None:
    assert set(NEXT) == set(FrameState)
    assert set(NEXT_JOB) == set(JobState)


def test_a_frame_that_has_ended_leads_on_only_to_another_try() -> None:
    assert all(NEXT[state] <= {F.READY, F.BLOCKED} for state in FRAME_ENDED)
    assert not FRAME_ENDED & ISSUED


def test_every_open_state_reaches_an_end_and_every_end_can_be_cancelled_or_retried() -> None:
    for state in set(FrameState) - FRAME_ENDED:
        assert F.CANCELLED in NEXT[state]
        assert F.FAILED in NEXT[state]
    assert all(J.ACTIVE in NEXT_JOB[state] for state in JOB_ENDED)


def test_a_failed_frame_waits_twice_as_long_each_time_up_to_five_minutes() -> None:
    waits = [retry_at(failures=n, attempts=100, permanent=False, now=1000.0, jitter=0.0) for n in range(1, 12)]
    assert waits == [1000.0 + min(2.0**n, 300.0) for n in range(11)]


def test_a_permanent_failure_gets_no_other_attempt() -> None:
    assert retry_at(failures=1, attempts=3, permanent=True, now=0.0, jitter=0.0) is None


def test_a_frame_gets_as_many_attempts_as_its_job_allows() -> None:
    def again(failures: int) -> bool:
        return retry_at(failures=failures, attempts=3, permanent=False, now=0.0, jitter=0.0) is not None

    assert [again(n) for n in (1, 2, 3, 4)] == [True, True, False, False]


@given(st.integers(1, 10**9), st.floats(0, 1), st.floats(0, 2**33))
def test_a_retry_lies_in_the_future_and_not_too_far(failures: int, jitter: float, now: float) -> None:
    at = retry_at(failures=failures, attempts=failures + 1, permanent=False, now=now, jitter=jitter)
    assert at is not None
    assert timedelta(seconds=0.9) <= timedelta(seconds=at - now) <= LONGEST_WAIT * 1.5


counts = st.dictionaries(st.sampled_from(FrameState), st.integers(0, 5)).map(Counts)


@given(counts)
def test_the_counts_of_frames_add_up(counted: Counts) -> None:
    ended = sum(counted[state] for state in FRAME_ENDED)
    assert counted.open + ended == counted.total


@given(st.sampled_from(sorted(set(JobState) - {J.CANCELLED})), counts)
def test_a_job_ends_exactly_when_no_frame_is_open(state: JobState, counted: Counts) -> None:
    assert (outcome(state, counted) in JOB_ENDED) == (counted.open == 0)


@given(st.sampled_from(JobState), counts)
def test_the_outcome_of_a_job_is_stable_and_allowed(state: JobState, counted: Counts) -> None:
    new = outcome(state, counted)
    assert outcome(new, counted) is new
    if new is not state and not (state in JOB_ENDED and new in JOB_ENDED):
        assert check_job(state, new) is new


@pytest.mark.parametrize(
    ("state", "frames", "expected"),
    [
        (J.ACTIVE, {F.DONE: 3}, J.DONE),
        (J.ACTIVE, {F.DONE: 2, F.FAILED: 1}, J.FAILED),
        (J.ACTIVE, {F.DONE: 2, F.CANCELLED: 1}, J.FAILED),
        (J.ACTIVE, {F.DONE: 2, F.RENDERING: 1}, J.ACTIVE),
        (J.ACTIVE, {F.FAILED: 2, F.BLOCKED: 1}, J.ACTIVE),
        (J.PAUSED, {F.DONE: 2, F.READY: 1}, J.PAUSED),
        (J.PAUSED, {F.DONE: 3}, J.DONE),
        (J.DONE, {F.DONE: 2, F.READY: 1}, J.ACTIVE),
        (J.FAILED, {F.DONE: 2, F.READY: 1}, J.ACTIVE),
        (J.CANCELLED, {F.DONE: 3}, J.CANCELLED),
    ],
)
def test_a_job_ends_as_its_frames_ended(state: JobState, frames: dict[FrameState, int], expected: JobState) -> None:
    assert outcome(state, Counts(frames)) is expected
