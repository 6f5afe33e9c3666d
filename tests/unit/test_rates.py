"""How fast a job goes, as its followers see it."""

from __future__ import annotations

import pytest

from distren.server.rates import Rates


def test_a_job_is_measured_from_its_first_frame_on_and_not_from_its_first_result() -> None:
    rates = Rates()
    rates.begin(1, 100.0)
    assert rates.of(1, 102.0) == 0
    rates.count(1, 2, 104.0)  # two slots, 4 s a frame
    assert rates.of(1, 104.0) == pytest.approx(0.5)
    assert rates.of(1, 108.0) == pytest.approx(0.25), "nothing came meanwhile"


def test_slow_and_bunched_results_give_a_steady_figure() -> None:
    rates, seen = Rates(), []
    rates.begin(1, 0.0)
    for result in range(1, 101):  # two at once every 240 s
        rates.count(1, 2, result * 240.0)
        seen.append(rates.of(1, result * 240.0))
    assert seen == [pytest.approx(2 / 240)] * 100


def test_what_changes_is_seen_after_the_span() -> None:
    rates = Rates()
    rates.begin(1, 0.0)
    for tenth in range(1, 1001):
        rates.count(1, 1, tenth / 10)
    assert rates.of(1, 100.0) == pytest.approx(10, rel=0.02)
    for second in range(101, 131):
        rates.count(1, 1, float(second))
    assert rates.of(1, 130.0) == pytest.approx(1, rel=0.1)


def test_a_job_that_stood_still_begins_anew() -> None:
    rates = Rates()
    rates.count(1, 50, 1.0)
    rates.forget(1)
    assert rates.of(1, 2.0) == 0
    rates.begin(1, 1000.0)
    rates.count(1, 4, 1002.0)
    assert rates.of(1, 1002.0) == pytest.approx(2)
