"""In whose hands frames were when something came between two servers, on evidence made up here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trials.checker import Evidence, Recorded, expected
from trials.disturber import ALL, Struck
from trials.peers import checker
from trials.peers.submitter import PeerPromise
from trials.renderlog import Rendering
from trials.schedule import Fault, Kind

FRAMES = 20


def rendering(frame: int, site: str, *, again: bool = False, began: float = 100.0) -> Rendering:
    return Rendering(
        attempt=f"attempt-{frame}{'-again' if again else ''}",
        worker=f"{site}/worker-1",
        token="scene",
        frame=frame,
        began=began,
        ended=began + 0.5,
        digest=expected(("scene", frame)),
    )


def struck(kind: Kind, site: str, peer: str | None = None, *, at: float = 100.2, seconds: float = 50.0) -> Struck:
    fault = Fault(number=1, kind=kind, at=1, delay=0.0, seconds=seconds, site=site, peer=peer)
    return Struck(fault=fault, began=at, ended=at + seconds, worker=ALL)


@pytest.fixture
def evidence() -> Evidence:
    """Frame 1 of alpha's job was rendered by beta, and later by alpha as well."""
    first = [rendering(frame, "alpha" if frame > 1 else "beta") for frame in range(1, FRAMES + 1)]
    return Evidence(
        promises=[
            PeerPromise(token="scene", job=1, frames=FRAMES, at=1.0, tries=1, server="alpha", by="alpha", way="own")
        ],
        renderings=[*first, rendering(1, "alpha", again=True, began=160.0)],
        struck=[],
        jobs=["scene"],
        recorded={("scene", frame): Recorded(attempts=[f"attempt-{frame}"]) for frame in range(1, FRAMES + 1)},
        fetched={("scene", frame): expected(("scene", frame)) for frame in range(1, FRAMES + 1)},
    )


def test_a_frame_that_a_silent_peer_had_may_be_rendered_at_home_as_well(evidence: Evidence) -> None:
    verdict = checker.judge(replace(evidence, struck=[struck(Kind.CUT_LINE, "beta", "alpha")]))
    assert (verdict.wasted, verdict.unexplained, verdict.good) == (1, 0, True)


@pytest.mark.parametrize(
    "other",
    [
        [],
        [struck(Kind.CUT_LINE, "beta", "gamma")],
        [struck(Kind.KILL_BROKER, "gamma")],
        [struck(Kind.CUT_LINE, "beta", "alpha", at=300.0)],
        [struck(Kind.REPLAY, "beta", "alpha")],
    ],
)
def test_what_did_not_come_between_them_excuses_nothing(evidence: Evidence, other: list[Struck]) -> None:
    verdict = checker.judge(replace(evidence, struck=other))
    assert verdict.unexplained == 1
    assert "1 rendered in vain" in verdict.failures[0]


def test_frames_of_a_killed_server_are_in_hand_with_whoever_renders_them(evidence: Evidence) -> None:
    for site in ("alpha", "beta"):
        hands = checker.in_hand(replace(evidence, struck=[struck(Kind.KILL_SERVER, site, seconds=0.0)]))
        assert hands["scene", 1] >= 1


def test_a_guest_that_was_not_forgotten_is_seen(evidence: Evidence) -> None:
    verdict = checker.judge(replace(evidence, jobs=["scene", "scene (distren://alpha/1)"]))
    assert any("handed in twice" in failure for failure in verdict.failures)


@pytest.mark.parametrize(("moved", "unexplained"), [(0.0, 1), (90.0, 1), (101.0, 0)])
def test_what_was_rendered_before_its_job_was_moved_may_be_rendered_again(
    evidence: Evidence, moved: float, unexplained: int
) -> None:
    promise = evidence.promises[0]
    assert isinstance(promise, PeerPromise)
    verdict = checker.judge(replace(evidence, promises=[replace(promise, way="moved", moved=moved)]))
    assert verdict.unexplained == unexplained


def test_what_the_move_of_its_job_stopped_does_not_wait_for_a_killed_worker(evidence: Evidence) -> None:
    """The frame runs again at the new place only once the job is there."""
    kill = Struck(
        fault=Fault(number=1, kind=Kind.KILL_WORKER, at=1, delay=0.0, site="alpha"),
        began=110.0,
        ended=110.0,
        worker="alpha/worker-1",
    )
    stopped = replace(rendering(2, "alpha", again=True, began=105.0), ended=None, digest=None)
    late = replace(rendering(2, "gamma", began=400.0), attempt="attempt-2-late")
    found = [one for one in evidence.renderings if one.frame != 2]
    evidence = replace(evidence, struck=[kill], renderings=[*found, stopped, late])
    assert checker.judge(evidence).again == [290.0]
    promise = evidence.promises[0]
    assert isinstance(promise, PeerPromise)
    assert checker.judge(replace(evidence, promises=[replace(promise, way="moved", moved=390.0)])).again == []
