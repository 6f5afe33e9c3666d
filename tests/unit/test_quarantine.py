"""Who is put into quarantine, and which frame is given up: rules without any I/O."""

from __future__ import annotations

from distren.domain import poison
from distren.domain.poison import STOPPED, Lost
from distren.domain.quarantine import IN_A_ROW, Watch


def failing(watch: Watch, worker: str, frames: range, *, job: int = 1, permanent: bool = False) -> None:
    for frame in frames:
        watch.failed(worker, (job, frame), "no memory", permanent=permanent)


def test_a_worker_that_fails_several_frames_in_a_row_which_others_render_is_quarantined() -> None:
    watch = Watch()
    watch.rendered("good", (1, 99))
    failing(watch, "bad", range(IN_A_ROW - 1))
    assert watch.verdict("bad") is None
    failing(watch, "bad", range(IN_A_ROW))
    assert (
        watch.verdict("bad") == "it failed 3 different frames in a row of jobs that others render; the last: no memory"
    )
    assert watch.suspects() == ["bad"]


def test_one_frame_that_fails_again_and_again_says_nothing_of_its_worker() -> None:
    watch = Watch()
    watch.rendered("good", (1, 99))
    for _ in range(9):
        failing(watch, "bad", range(1))
    assert watch.verdict("bad") is None


def test_a_job_that_nobody_else_renders_says_nothing_of_a_worker() -> None:
    watch = Watch()
    failing(watch, "bad", range(9))
    watch.rendered("good", (2, 1))
    assert watch.verdict("bad") is None
    watch.rendered("good", (1, 50))
    assert watch.verdict("bad") is not None


def test_frames_that_would_fail_everywhere_do_not_count() -> None:
    watch = Watch()
    watch.rendered("good", (1, 99))
    failing(watch, "bad", range(9), permanent=True)
    assert watch.verdict("bad") is None


def test_a_success_forgives_and_so_does_a_release() -> None:
    watch = Watch()
    watch.rendered("good", (1, 99))
    failing(watch, "bad", range(9))
    watch.rendered("bad", (1, 10))
    assert watch.verdict("bad") is None
    failing(watch, "bad", range(9))
    watch.forgive("bad")
    assert watch.verdict("bad") is None


def lost(worker: str, *, gone: bool = True, reason: str | None = None) -> Lost:
    return Lost(worker=worker, gone=gone, reason=reason)


def test_a_frame_that_ends_every_worker_is_given_up_with_their_names() -> None:
    assert poison.verdict([lost("a"), lost("b")], 3) is None
    said = poison.verdict([lost("a"), lost("b"), lost("a")], 3)
    assert said == "it ended every worker that rendered it, 3 times: a, b"


def test_workers_that_live_or_were_stopped_do_not_speak_against_a_frame() -> None:
    past = [lost("a"), lost("b"), lost("c", gone=False), lost("d", reason=STOPPED)]
    assert poison.verdict(past, 3) is None
    assert poison.verdict(past, 2) is not None
