"""What events make of a frame, in any order and however often they come."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distren.domain import frame as lifecycle
from distren.domain.frame import Attempt, Frame
from distren.domain.job import Blob
from distren.domain.states import FRAME_ENDED, ISSUED, NEXT, FrameState
from distren.errors import Conflict

QUEUE = "frames.default.povray-3.7"
READY = Frame(job=1, id=7)


def attempt(issue: int = 1, number: int = 1) -> Attempt:
    return Attempt(issue=issue, token=f"{issue}-{number}", worker=f"worker-{number}", started=100.0 * issue + number)


def result(number: int = 1) -> Blob:
    return Blob(digest=f"{number:064x}", size=number)


def rendering(issue: int = 1) -> Frame:
    return lifecycle.started(lifecycle.issued(replace(READY, issue=issue - 1), QUEUE), attempt(issue))


def test_a_frame_goes_from_ready_to_done() -> None:
    frame = lifecycle.issued(READY, QUEUE)
    assert (frame.state, frame.issue, frame.queue) == (FrameState.QUEUED, 1, QUEUE)
    frame = lifecycle.started(frame, attempt())
    assert (frame.state, frame.worker, frame.started) == (FrameState.RENDERING, "worker-1", 101.0)
    frame = lifecycle.completed(frame, attempt(), result(), now=120.0)
    assert (frame.state, frame.result, frame.ended, frame.queue) == (FrameState.DONE, result(), 120.0, None)


@pytest.mark.parametrize("state", sorted(set(FrameState) - {FrameState.READY}))
def test_only_a_ready_frame_is_issued(state: FrameState) -> None:
    with pytest.raises(Conflict):
        lifecycle.issued(replace(READY, state=state), QUEUE)


def test_a_second_result_changes_nothing() -> None:
    done = lifecycle.completed(rendering(), attempt(), result(1), now=120.0)
    assert lifecycle.completed(done, attempt(1, 2), result(2), now=130.0) == done


def test_a_late_result_of_an_earlier_issue_wins_over_the_attempt_that_is_under_way() -> None:
    again = lifecycle.issued(lifecycle.taken_back(rendering(), "its worker is silent"), QUEUE)
    done = lifecycle.completed(lifecycle.started(again, attempt(2)), attempt(1), result(1), now=300.0)
    assert (done.state, done.result, done.worker, done.started) == (FrameState.DONE, result(1), "worker-1", 101.0)


def test_a_result_is_taken_though_the_news_of_its_start_was_lost() -> None:
    done = lifecycle.completed(lifecycle.issued(READY, QUEUE), attempt(), result(), now=120.0)
    assert (done.state, done.started) == (FrameState.DONE, 101.0)


def test_a_failure_is_recorded_though_the_news_of_its_start_was_lost() -> None:
    frame = lifecycle.failed(lifecycle.issued(READY, QUEUE), attempt(), "no light", retry_at=None, now=120.0)
    assert (frame.state, frame.started, frame.ended, frame.reason) == (FrameState.FAILED, 101.0, 120.0, "no light")


def test_a_result_for_a_cancelled_frame_is_dropped() -> None:
    called_off = lifecycle.cancelled(rendering(), now=110.0)
    assert lifecycle.completed(called_off, attempt(), result(), now=120.0) == called_off


def test_a_result_for_a_blocked_frame_is_dropped() -> None:
    blocked = replace(READY, state=FrameState.BLOCKED)
    assert lifecycle.completed(blocked, attempt(), result(), now=120.0) == blocked


def test_a_failed_attempt_leaves_the_frame_ready_for_another() -> None:
    frame = lifecycle.failed(rendering(), attempt(), "worker thread startup", retry_at=130.0, now=120.0)
    assert (frame.state, frame.failures, frame.not_before, frame.queue) == (FrameState.READY, 1, 130.0, None)
    assert (frame.token, frame.started, frame.reason) == (None, None, "worker thread startup")


def test_the_failure_of_an_attempt_that_another_worker_took_over_is_not_counted() -> None:
    taken_over = lifecycle.started(rendering(), attempt(1, 2))
    assert lifecycle.failed(taken_over, attempt(1, 1), "killed", retry_at=None, now=120.0) == taken_over


def test_the_failure_of_an_earlier_issue_is_not_counted() -> None:
    second = rendering(issue=2)
    assert lifecycle.failed(second, attempt(1), "killed", retry_at=None, now=120.0) == second


def test_a_frame_that_nobody_holds_goes_back_without_a_failure() -> None:
    frame = lifecycle.taken_back(rendering(), "its worker is silent")
    assert (frame.state, frame.failures, frame.queue, frame.worker) == (FrameState.READY, 0, None, None)
    assert (frame.started, frame.reason) == (None, "its worker is silent")


def test_a_delivery_that_the_broker_puts_back_waits_under_the_same_issue() -> None:
    frame = lifecycle.requeued(rendering(), "its worker went away")
    assert (frame.state, frame.issue, frame.queue, frame.worker) == (FrameState.QUEUED, 1, QUEUE, None)
    assert lifecycle.requeued(READY, "its worker went away") == READY


def test_a_frame_that_has_come_back_too_often_waits_or_fails() -> None:
    frame = lifecycle.returned(rendering(issue=2), 2, "came back", retry_at=130.0, now=120.0)
    assert (frame.state, frame.not_before, frame.failures, frame.token) == (FrameState.READY, 130.0, 1, None)
    frame = lifecycle.returned(rendering(issue=2), 2, "came back", retry_at=None, now=120.0)
    assert (frame.state, frame.ended, frame.reason) == (FrameState.FAILED, 120.0, "came back")


def test_an_earlier_issue_that_has_come_back_changes_nothing() -> None:
    assert lifecycle.returned(rendering(issue=2), 1, "came back", retry_at=1.0, now=120.0) == rendering(issue=2)
    waiting = replace(READY, issue=1)
    assert lifecycle.returned(waiting, 1, "came back", retry_at=1.0, now=120.0) == waiting


def test_a_ready_frame_that_has_ended_too_many_workers_fails() -> None:
    frame = lifecycle.poisoned(READY, "it ended them all", 120.0)
    assert (frame.state, frame.ended, frame.reason) == (FrameState.FAILED, 120.0, "it ended them all")
    assert lifecycle.poisoned(rendering(), "it ended them all", 120.0) == rendering()


def test_a_frame_that_is_tried_again_says_why_and_one_that_is_wanted_anew_is_pardoned() -> None:
    again = replace(READY, issue=2, failures=1, reason="Parse Error")
    assert lifecycle.issued(again, QUEUE).reason == "Parse Error"
    assert lifecycle.issued(replace(READY, reason="its place changed"), QUEUE).reason is None
    assert lifecycle.retried(replace(READY, issue=4, state=FrameState.FAILED)).pardoned == 4


def test_a_retry_starts_afresh_but_keeps_counting_issues() -> None:
    failed = lifecycle.failed(rendering(issue=3), attempt(3), "no light", retry_at=None, now=120.0)
    assert lifecycle.retried(failed) == replace(READY, issue=3, pardoned=3)


def test_a_retry_of_a_frame_under_way_lets_it_go_on() -> None:
    assert lifecycle.retried(rendering()) == rendering()
    waiting = lifecycle.failed(rendering(), attempt(), "killed", retry_at=999.0, now=120.0)
    assert lifecycle.retried(waiting) == replace(waiting, not_before=0.0)


# -- any events in any order -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens to a frame; `late` is how many issues ago the attempt in question began."""

    kind: str
    late: int
    number: int
    again: bool
    now: float

    def of(self, frame: Frame) -> Attempt:
        """The attempt that this event is about, should it reach `frame`."""
        return attempt(max(frame.issue - self.late, 1), self.number)


KINDS = ["issued"] * 6 + ["started"] * 6 + ["failed"] * 3 + ["completed", "cancelled", "retried"]
KINDS += ["taken_back", "requeued", "returned", "poisoned"]
events = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    late=st.sampled_from([0, 0, 0, 1, 2]),
    number=st.integers(1, 2),
    again=st.booleans(),
    now=st.floats(0, 1e6),
)
histories = st.integers(0, 30).flatmap(lambda length: st.lists(events, min_size=length, max_size=length))


def apply(frame: Frame, event: Event, of: Attempt) -> Frame:
    """`frame` after `event`; only a ready frame is issued, as dispatch does."""
    match event.kind:
        case "issued":
            return lifecycle.issued(frame, QUEUE) if frame.state is FrameState.READY else frame
        case "started":
            return lifecycle.started(frame, of)
        case "completed":
            return lifecycle.completed(frame, of, result(event.number), event.now)
        case "failed":
            retry_at = event.now + 1 if event.again else None
            return lifecycle.failed(frame, of, "broken", retry_at=retry_at, now=event.now)
        case "taken_back":
            return lifecycle.taken_back(frame, "nobody holds it")
        case "requeued":
            return lifecycle.requeued(frame, "its worker went away")
        case "returned":
            retry_at = event.now + 1 if event.again else None
            return lifecycle.returned(frame, of.issue, "came back", retry_at=retry_at, now=event.now)
        case "poisoned":
            return lifecycle.poisoned(frame, "it ended them all", event.now)
        case "cancelled":
            return lifecycle.cancelled(frame, event.now)
        case _:
            return lifecycle.retried(frame)


def hold_together(frame: Frame) -> None:
    """The fields of a frame agree with its state."""
    assert (frame.result is not None) == (frame.state is FrameState.DONE)
    assert (frame.ended is not None) == (frame.state in FRAME_ENDED)
    assert (frame.queue is not None) == (frame.state in ISSUED)
    if frame.state in (FrameState.READY, FrameState.QUEUED):
        assert (frame.token, frame.started) == (None, None)
    if frame.state in (FrameState.RENDERING, FrameState.DONE):
        assert None not in (frame.token, frame.started, frame.worker)


def follows(old: Frame, new: Frame, event: Event) -> None:
    """The step from `old` to `new` is one that a frame may take."""
    assert new.state is old.state or new.state in NEXT[old.state]
    assert new.issue == old.issue + (event.kind == "issued" and old.state is FrameState.READY)
    if old.state in FRAME_ENDED:
        assert new == old or event.kind == "retried"
    if new.failures != old.failures:
        forgiven = event.kind == "retried" and old.state in FRAME_ENDED and new.failures == 0
        counted = event.kind in ("failed", "returned") and event.of(old).issue == old.issue and old.state in ISSUED
        assert forgiven or (counted and new.failures == old.failures + 1)


@given(histories)
def test_a_frame_stays_whole_whatever_happens_in_whatever_order(history: list[Event]) -> None:
    frame = READY
    for event in history:
        after = apply(frame, event, event.of(frame))
        follows(frame, after, event)
        hold_together(after)
        frame = after


@given(histories)
def test_an_event_that_comes_twice_counts_once(history: list[Event]) -> None:
    frame = READY
    for event in history:
        of = event.of(frame)
        frame = apply(frame, event, of)
        if event.kind != "issued":
            assert apply(frame, event, of) == frame


@given(histories)
def test_the_first_result_is_the_one_that_stays_until_a_retry(history: list[Event]) -> None:
    frame, first = READY, None
    for event in history:
        if frame.state in FRAME_ENDED and event.kind == "retried":
            first = None
        elif event.kind == "completed" and frame.state not in FRAME_ENDED:
            first = result(event.number)
        frame = apply(frame, event, event.of(frame))
        assert frame.result == first
