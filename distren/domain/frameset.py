"""Sets of frame ids as people write them: `1-24`, `1-100x2`, `7,3,900000`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from distren.errors import FrameRangeError

LARGEST_FRAME = 2**53 - 1  # every JSON reader keeps such a number exactly
MOST_FRAMES = 2_000_000
"""in one job: its set of ids, its rows and its dispatch stay within the memory of a small server"""
_FEW = 16
_PART = re.compile(r"(\d{1,16})(?:-(\d{1,16})(?:x(\d{1,16}))?)?", re.ASCII)
_SHOWN = 60
"""characters of a wrong range in an error"""


@dataclass(frozen=True)
class FrameSet:
    """A set of frame ids, kept as ranges, so that a million frames cost no memory; iterates in written order."""

    ranges: tuple[range, ...]

    def __iter__(self) -> Iterator[int]:
        if self.is_disjoint:
            return (number for numbers in self.ranges for number in numbers)
        return self._once() if len(self.ranges) <= _FEW else iter(dict.fromkeys(n for r in self.ranges for n in r))

    @property
    def is_disjoint(self) -> bool:
        """Whether no two ranges reach into each other, so that no id can be in two of them."""
        ordered = sorted((numbers[0], numbers[-1]) for numbers in self.ranges)
        return all(ordered[at][1] < ordered[at + 1][0] for at in range(len(ordered) - 1))

    def _once(self) -> Iterator[int]:
        for at, numbers in enumerate(self.ranges):
            earlier = self.ranges[:at]
            for number in numbers:
                if not any(number in ids for ids in earlier):
                    yield number

    def __contains__(self, number: int) -> bool:
        return any(number in numbers for numbers in self.ranges)

    def __len__(self) -> int:
        return sum(map(len, self.ranges)) if self.is_disjoint else sum(1 for _ in self)

    def __str__(self) -> str:
        return ",".join(_written(numbers) for numbers in self.ranges)

    def shifted(self, by: int) -> FrameSet:
        """Each id and `by` more."""
        return FrameSet(tuple(range(ids.start + by, ids.stop + by, ids.step) for ids in self.ranges))

    def within(self, others: FrameSet) -> FrameSet:
        """Those of the ids that `others` has too, in this set's order."""
        known = others.ranges[0] if len(others.ranges) == 1 else set(others)
        return of(number for number in self if number in known)

    @property
    def first(self) -> int:
        """The smallest id."""
        return min(numbers[0] for numbers in self.ranges)

    @property
    def last(self) -> int:
        """The largest id."""
        return max(numbers[-1] for numbers in self.ranges)


def parse(text: str) -> FrameSet:
    """Read `1-24`, `1-100x2` (every second one) or a list of such parts; raises FrameRangeError."""
    parts = [part.strip() for part in text.split(",")]
    if not any(parts):
        raise FrameRangeError("the frame range is empty: write for example 1-24, 1-100x2 or 3,7,12")
    return FrameSet(tuple(_range(part) for part in parts))


def of(numbers: Iterable[int]) -> FrameSet:
    """The set of these ids, in this order, with runs of neighbours folded into ranges."""
    ranges: list[range] = []
    for number in numbers:
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return FrameSet(tuple(ranges))


def check_count(frames: FrameSet) -> FrameSet:
    """`frames`, if they are few enough for one job; raises FrameRangeError. Costs no more than the ranges."""
    count = sum(map(len, frames.ranges))
    if count > MOST_FRAMES:
        raise FrameRangeError(f"{count} frames are more than the {MOST_FRAMES} of one job: split it into several jobs")
    if not count:
        raise FrameRangeError("there are no frames: write for example 1-24, 1-100x2 or 3,7,12")
    return frames


def _range(part: str) -> range:
    match = _PART.fullmatch(part)
    part = part if len(part) <= _SHOWN else f"{part[:_SHOWN]}..."
    if not match:
        raise FrameRangeError(f"'{part}' is no frame range: write for example 1-24, 1-100x2 or 3,7,12")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    step = 1 if match[3] is None else int(match[3])
    if last > LARGEST_FRAME:
        raise FrameRangeError(f"'{part}' goes beyond the largest frame number, {LARGEST_FRAME}")
    if step == 0:
        raise FrameRangeError(f"'{part}' has step 0: write a step of 1 or more")
    if last < first:
        raise FrameRangeError(f"'{part}' ends before it starts: write {last}-{first}")
    return range(first, last + 1, step)


def _written(numbers: range) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    return f"{numbers[0]}-{numbers[-1]}" + (f"x{numbers.step}" if numbers.step > 1 else "")
