"""Whether something grows: a line through the samples after the warm-up, and what it comes to in an hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

WARM_UP = 0.25
"""share of the samples at the beginning that are not judged: caches fill, allocators find their size"""
_FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How `what` went, in `unit`: the medians of the first and the last quarter after the warm-up, the slope per hour.

    `allowed` is the slope that is still no growth; None where growth is by design.
    """

    what: str
    unit: str
    first: float
    last: float
    per_hour: float
    allowed: float | None

    @property
    def good(self) -> bool:
        return self.allowed is None or self.per_hour <= self.allowed


def judge(
    what: str,
    unit: str,
    samples: Sequence[tuple[float, float]],
    allowed: float | None,
    *,
    level: Callable[[Iterable[float]], float] = median,
) -> Growth:
    """`samples` are (seconds, value). Raises ValueError for too few of them to say anything.

    The slope goes through the levels of eight stretches of equal length, so that single peaks do not turn it: their
    medians, or with `min` what is there when nothing is under way.
    """
    judged = samples[int(len(samples) * WARM_UP) :]
    if len(judged) < 2 * _FEWEST:
        raise ValueError(f"{len(judged)} samples of {what} after the warm-up say nothing: let it run longer")
    stretches = [judged[len(judged) * n // _FEWEST : len(judged) * (n + 1) // _FEWEST] for n in range(_FEWEST)]
    times = [median(time for time, _ in stretch) for stretch in stretches]
    values = [level(value for _, value in stretch) for stretch in stretches]
    slope, _ = linear_regression(times, values)
    quarter = max(len(judged) // 4, 1)
    return Growth(
        what=what,
        unit=unit,
        first=median(value for _, value in judged[:quarter]),
        last=median(value for _, value in judged[-quarter:]),
        per_hour=slope * 3600,
        allowed=allowed,
    )
