"""Sizes and times as people read them."""

from __future__ import annotations

import pytest

from distren.cli import human


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (104857600, "100 MiB"), (5 * 2**40, "5.0 TiB")],
)
def test_sizes_have_a_unit_that_keeps_them_short(count: int, text: str) -> None:
    assert human.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0123, "12 ms"),
        (4.21, "4.2 s"),
        (59.99, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations_name_the_two_units_that_matter(seconds: float | None, text: str) -> None:
    assert human.duration(seconds) == text


def test_a_forecast_is_never_finer_than_a_second() -> None:
    assert human.remaining(4.4) == "4 s left"
    assert human.remaining(None) == ""


def test_slow_rates_are_told_per_minute_or_hour() -> None:
    assert [human.rate(per_second) for per_second in (0, 250, 12.34, 0.05, 0.001)] == [
        "-",
        "250 frames/s",
        "12.3 frames/s",
        "3.0 frames/min",
        "3.6 frames/h",
    ]


def test_one_is_not_plural() -> None:
    assert human.plural(1, "frame") == "1 frame"
    assert human.plural(2000, "frame") == "2,000 frames"


def test_a_moment_in_the_future_is_just_now() -> None:
    assert human.ago(105.0, 100.0) == "just now"
    assert human.ago(88.0, 100.0) == "12 s ago"


def test_nothing_that_a_renderer_prints_commands_the_terminal() -> None:
    assert human.harmless("a\x1b[31mb\r\tc\nd\u202e") == "a\ufffd[31mb\ufffd\tc\nd\ufffd"
