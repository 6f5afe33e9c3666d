"""The rules by which a trial is judged, on evidence made up here: each rule can be broken, and is seen to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trials import checker
from trials.checker import Evidence, Recorded
from trials.disturber import ALL, Struck
from trials.renderlog import Rendering
from trials.schedule import Fault, Kind
from trials.submitter import Promise

FRAMES = 40
KEYS = [("scene", frame) for frame in range(1, FRAMES + 1)]


def rendering(frame: int, *, attempt: str = "", worker: str = "worker-1", began: float | None = None) -> Rendering:
    start = 100.0 + frame if began is None else began
    return Rendering(
        attempt=attempt or f"attempt-{frame}",
        worker=worker,
        token="scene",
        frame=frame,
        began=start,
        ended=start + 0.5,
        digest=checker.expected(("scene", frame)),
    )


def struck(kind: Kind, at: float, worker: str | None, seconds: float = 0.0) -> Struck:
    return Struck(fault=Fault(number=1, kind=kind, at=1, delay=0.0), began=at, ended=at + seconds, worker=worker)


@pytest.fixture
def good() -> Evidence:
    return Evidence(
        promises=[Promise(token="scene", job=1, frames=FRAMES, at=1.0, tries=1)],
        renderings=[rendering(frame) for _, frame in KEYS],
        struck=[],
        jobs=["scene"],
        recorded={key: Recorded(attempts=[f"attempt-{key[1]}"], times=frozenset({200.0})) for key in KEYS},
        fetched={key: checker.expected(key) for key in KEYS},
    )


def test_a_trial_without_a_flaw_is_good(good: Evidence) -> None:
    verdict = checker.judge(good)
    assert verdict.good
    assert (verdict.frames, verdict.rendered) == (FRAMES, FRAMES)


def test_a_promised_frame_that_is_not_done_is_lost(good: Evidence) -> None:
    recorded = {key: one for key, one in good.recorded.items() if key != KEYS[3]}
    assert checker.judge(replace(good, recorded=recorded)).lost == 1


def test_a_promised_job_that_the_farm_does_not_know_is_lost(good: Evidence) -> None:
    promise = Promise(token="other", job=2, frames=5, at=2.0, tries=1)
    assert checker.judge(replace(good, promises=[*good.promises, promise])).lost == 5


def test_a_done_frame_that_no_bundle_holds_is_missing(good: Evidence) -> None:
    assert checker.judge(replace(good, fetched={**good.fetched, KEYS[3]: None})).missing == 1


def test_other_bytes_are_corrupt(good: Evidence) -> None:
    assert checker.judge(replace(good, fetched={**good.fetched, KEYS[3]: "0" * 64})).corrupt == 1


def test_a_result_of_an_attempt_that_nobody_made_is_corrupt(good: Evidence) -> None:
    recorded = {**good.recorded, KEYS[3]: Recorded(attempts=["never made"])}
    assert checker.judge(replace(good, recorded=recorded)).corrupt == 1


def test_two_attempts_that_are_both_recorded_are_one_too_many(good: Evidence) -> None:
    again = rendering(4, attempt="again", began=130.0)
    recorded = {**good.recorded, KEYS[3]: Recorded(attempts=["attempt-4", "again"])}
    verdict = checker.judge(replace(good, recorded=recorded, renderings=[*good.renderings, again]))
    assert verdict.doubled == 1


def test_a_result_that_listeners_heard_of_at_two_times_was_recorded_twice(good: Evidence) -> None:
    recorded = {**good.recorded, KEYS[3]: replace(good.recorded[KEYS[3]], times=frozenset({200.0, 201.0}))}
    assert checker.judge(replace(good, recorded=recorded)).doubled == 1


def test_a_job_that_was_handed_in_once_and_is_there_twice_is_seen(good: Evidence) -> None:
    assert "handed in twice" in checker.judge(replace(good, jobs=["scene", "scene"])).failures[0]


def test_a_frame_rendered_again_without_a_fault_is_seen(good: Evidence) -> None:
    again = rendering(4, attempt="again", began=130.0)
    verdict = checker.judge(replace(good, renderings=[*good.renderings, again]))
    assert (verdict.wasted, verdict.in_hand, verdict.unexplained) == (1, 0, 1)
    assert "in vain" in verdict.failures[0]


@pytest.mark.parametrize("worker", ["worker-1", ALL])
def test_a_frame_in_hand_at_a_fault_may_be_rendered_again(good: Evidence, worker: str) -> None:
    again = rendering(4, attempt="again", worker="worker-2", began=105.0)
    fault = struck(Kind.KILL_WORKER, 104.2, worker)
    verdict = checker.judge(replace(good, renderings=[*good.renderings, again], struck=[fault]))
    assert (verdict.wasted, verdict.unexplained) == (1, 0)
    assert verdict.good


def test_a_fault_of_another_worker_excuses_nothing(good: Evidence) -> None:
    again = rendering(4, attempt="again", worker="worker-2", began=105.0)
    verdict = checker.judge(
        replace(good, renderings=[*good.renderings, again], struck=[struck(Kind.KILL_WORKER, 104.2, "worker-3")])
    )
    assert not verdict.good


def test_more_than_a_twentieth_in_vain_is_too_much_whatever_the_faults(good: Evidence) -> None:
    again = [rendering(frame, attempt=f"again-{frame}", worker="worker-2", began=150.0) for frame in (1, 2, 3)]
    fault = struck(Kind.KILL_BROKER, 100.0, ALL, seconds=60.0)
    assert (
        "more than 5%"
        in checker.judge(replace(good, renderings=[*good.renderings, *again], struck=[fault])).failures[0]
    )


def test_frames_of_a_killed_worker_are_to_run_again_soon(good: Evidence) -> None:
    again = rendering(4, attempt="again", worker="worker-2", began=104.2 + 31.0)
    fault = struck(Kind.KILL_WORKER, 104.2, "worker-1")
    evidence = replace(good, renderings=[*good.renderings, again], struck=[fault])
    assert "not rendered again within" in checker.judge(evidence).failures[0]
    assert checker.judge(replace(evidence, boot=2 * checker.USUAL_BOOT)).good, "a slow machine has more time"


@pytest.mark.parametrize("kind", [Kind.KILL_SERVER, Kind.KILL_BROKER, Kind.DELETE_BROKER])
def test_frames_in_hand_at_any_kill_are_to_run_on_or_again_soon(good: Evidence, kind: Kind) -> None:
    fault = struck(kind, 104.2, ALL)
    assert checker.judge(replace(good, struck=[fault])).affected == [0.0], "frame 4 was rendered to its end"
    late, soon = (rendering(4, attempt="again", worker="worker-2", began=104.2 + wait) for wait in (31.0, 29.0))
    recorded = {**good.recorded, KEYS[3]: Recorded(attempts=["again"])}
    evidence = replace(good, struck=[fault], recorded=recorded)
    assert checker.judge(replace(evidence, renderings=[*good.renderings, soon])).good
    verdict = checker.judge(replace(evidence, renderings=[*good.renderings, late]))
    assert verdict.failures == ["1 of 1 frames in hand at a kill not running again within 30 s"]


def test_a_twentieth_of_the_frames_may_run_again_late_and_no_more() -> None:
    assert checker._slow([*[0.0] * 19, 31.0], 30.0, "late") == []
    assert checker._slow([*[0.0] * 18, 31.0], 30.0, "late") == ["1 of 19 late within 30 s"]


def test_results_that_a_server_could_not_take_go_with_the_data_of_the_broker(good: Evidence) -> None:
    again = rendering(4, attempt="again", worker="worker-2", began=140.0)
    away = struck(Kind.HOLE_SERVER, 103.0, None, seconds=6.0)
    deleted = struck(Kind.DELETE_BROKER, 110.0, ALL, seconds=5.0)
    renderings = [*good.renderings, again]
    assert checker.judge(replace(good, renderings=renderings, struck=[away, deleted])).unexplained == 0
    assert checker.judge(replace(good, renderings=renderings, struck=[deleted])).unexplained == 1


def test_a_trial_in_which_nothing_was_handed_in_proves_nothing(good: Evidence) -> None:
    nothing = replace(good, promises=[], renderings=[], jobs=[], recorded={}, fetched={})
    assert not checker.judge(nothing).good


def test_what_went_wrong_with_the_trial_itself_is_no_success(good: Evidence) -> None:
    assert checker.judge(replace(good, trouble=["only 3 of 5 faults have struck"])).failures
