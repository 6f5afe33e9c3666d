"""Sets of frame ids as people write them: `1-24`, `1-100x2`, `7,3,900000`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from distren.errors import FrameRangeError

LARGEST_FRAME = 2**53 - 1  # every JSON reader keeps such a number exactly
_PART = re.compile(r"(\d{1,16})(?:-(\d{1,16})(?:x(\d{1,16}))?)?", re.ASCII)


@dataclass(frozen=True)
class FrameSet:
    """A set of frame ids, kept as ranges, so that a million frames cost no memory; iterates in written order."""

    ranges: tuple[range, ...]

    def __iter__(self) -> Iterator[int]:
        seen: list[range] = []
        for numbers in self.ranges:
            for number in numbers:
                if not any(number in earlier for earlier in seen):
                    yield number
            seen.append(numbers)

    def __contains__(self, number: int) -> bool:
        return any(number in numbers for numbers in self.ranges)

    def __len__(self) -> int:
        return len(self.ranges[0]) if len(self.ranges) == 1 else sum(1 for _ in self)

    def __str__(self) -> str:
        return ",".join(_written(numbers) for numbers in self.ranges)

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


def _range(part: str) -> range:
    match = _PART.fullmatch(part)
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
