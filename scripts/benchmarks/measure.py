"""Measurements: what a row of the benchmark holds, and how two things are measured fairly against each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a figure, the bar that it must reach, and the samples that it comes from.

    `figure` is in `unit` (a ratio where that is "x"); `need` says on which side of `bar` it has to lie.
    """

    name: str
    what: str
    figure: float
    unit: str
    need: Literal["at least", "at most"]
    bar: float
    samples: Mapping[str, list[float]]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return self.figure >= self.bar if self.need == "at least" else self.figure <= self.bar

    def record(self) -> dict[str, Any]:
        """The row for JSON, with the medians of its samples."""
        return asdict(self) | {"met": self.met, "medians": {n: median(s) for n, s in self.samples.items() if s}}


def in_turns(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure each side once a round, A B A B ..., so that a noisy neighbour disturbs all of them alike."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, measure in sides.items():
            figure = measure()
            samples[name].append(figure)
            say(f"  round {number} of {rounds}: {name}: {figure:,.1f}")
    return samples


def say(text: str) -> None:
    """Tell the person who waits what happens; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
