"""What counts as growth in a soak."""

from __future__ import annotations

import pytest
from trials import growth


def test_a_level_line_with_peaks_is_no_growth() -> None:
    samples = [(10.0 * n, 100.0 + (30.0 if n % 7 == 0 else 0.0)) for n in range(200)]
    assert growth.judge("memory", "MB", samples, 12.0).good


def test_a_slow_leak_is_seen() -> None:
    samples = [(10.0 * n, 100.0 + n / 10) for n in range(200)]
    found = growth.judge("memory", "MB", samples, 12.0)
    assert not found.good
    assert found.per_hour == pytest.approx(36.0, rel=0.05)


def test_what_grows_during_the_warm_up_alone_is_no_growth() -> None:
    assert growth.judge("memory", "MB", [(10.0 * n, min(n, 40)) for n in range(200)], 12.0).good


def test_a_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="say nothing"):
        growth.judge("memory", "MB", [(1.0, 1.0)] * 10, 12.0)


def test_what_comes_and_goes_is_judged_by_what_stays() -> None:
    samples = [(10.0 * n, float(n % 5 * (1 + n // 40))) for n in range(200)]
    assert not growth.judge("queues", "messages", samples, 2.0).good
    assert growth.judge("queues", "messages", samples, 2.0, level=min).good
