"""Frames that are issued, and that nobody has any more, are taken back."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from test_lifecycle import Farm, started, token

from distren.domain.states import FrameState
from distren.server.fleet import HOLDS_FOR, REPORT_EVERY
from distren.server.lifecycle import Lifecycle
from distren.server.reconcile import EARLY_ACKNOWLEDGEMENT, REISSUE_AFTER, Reconciler
from distren.storage import frames as frame_rows


class Watched(Farm):
    """A farm with one frame, which worker w1 renders and has acknowledged early."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.reconciler = Reconciler("alpha", self.fleet)
        self.job = self.submit(frames="1")
        self.dispatch()
        self.apply(started(self.job, 1, name=token()))
        self.now += EARLY_ACKNOWLEDGEMENT.total_seconds()

    def says(self) -> None:
        """The worker reports what it has in its hands."""
        self.report("w1")
        report = self.fleet._seen["w1"].report.model_copy(update={"held_frames": [(self.job, 1)]})
        self.fleet.hear(report, self.now)

    def look(self, seconds: float, *, silent: bool) -> int:
        """Look every few seconds for so long; how many frames were taken back."""
        taken, until = 0, self.now + seconds
        while self.now < until:
            self.now += REPORT_EVERY
            if not silent:
                self.says()
            with self.engine.begin() as connection:
                lifecycle = Lifecycle(connection, self.now)
                issued = frame_rows.issued(connection)
                taken += self.reconciler.check(lifecycle, issued, now=self.now, steady=self.now)
                lifecycle.save()
        return taken


@pytest.fixture
def farm(engine: Engine) -> Watched:
    made = Watched(engine)
    made.says()
    return made


def test_a_long_frame_of_a_worker_that_is_gone_for_good_is_issued_again(farm: Watched) -> None:
    assert farm.look(HOLDS_FOR - REPORT_EVERY, silent=True) == 0
    assert farm.look(REISSUE_AFTER.total_seconds() + 3 * REPORT_EVERY, silent=True) == 1
    assert farm.frame(farm.job, 1).frame.state is FrameState.READY


def test_a_long_frame_lives_by_the_reports_of_its_worker(farm: Watched) -> None:
    assert farm.look(2 * HOLDS_FOR, silent=False) == 0
    assert farm.look(HOLDS_FOR / 2, silent=True) == 0
    assert farm.look(2 * HOLDS_FOR, silent=False) == 0
    assert farm.frame(farm.job, 1).frame.state is FrameState.RENDERING
