"""Which frames need which others: kept as ranges, so that 300,000 dependencies cost no more than their description."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from distren.domain import frameset
from distren.domain.frameset import FrameSet
from distren.errors import JobFileError

MOST_NEEDS = 2_000_000
"""in one job: as many dependencies as a job may have frames"""
MOST_OF_A_FRAME = 50_000
"""dependencies of one frame: the message that hands it to a worker names the result of each"""
IN_A_CYCLE = "frames need one another in a cycle"
_SHOWN = 20

Pair = tuple[int, int]
"""a frame, and the frame that it needs"""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Each of `frames` needs all of `needed`; with `pairs` the one at the same place in the list.

    Both are lists here: their order counts, and an id may be there twice. `job` is the job of the needed frames, None
    for the same job; `server` is the server of that job, None for the same one.
    """

    frames: FrameSet
    needed: FrameSet
    pairs: bool = False
    job: int | None = None
    server: str | None = None

    @property
    def count(self) -> int:
        """How many dependencies these are; an id that is listed twice counts twice."""
        return _length(self.frames) if self.pairs else _length(self.frames) * _length(self.needed)

    def __iter__(self) -> Iterator[Pair]:
        if self.pairs:
            return zip(_each(self.frames), _each(self.needed), strict=True)
        return product(_Again(self.frames), _Again(self.needed))


class _Again:
    """A list of ids that can be walked through."""

    def __init__(self, ids: FrameSet) -> None:
        self._ids = ids

    def __iter__(self) -> Iterator[int]:
        return _each(self._ids)


def _each(ids: FrameSet) -> Iterator[int]:
    return (number for numbers in ids.ranges for number in numbers)


def _length(ids: FrameSet) -> int:
    return sum(map(len, ids.ranges))


def check(frames: FrameSet, rules: Iterable[Needs]) -> None:
    """Raise JobFileError unless these can be the dependencies of a job with `frames`.

    Checked is what the job alone can say: that its own frames exist, and that no frame needs itself by whatever way.
    """
    rules = tuple(rules)
    if not rules:
        return
    for rule in rules:
        if rule.pairs and _length(rule.frames) != _length(rule.needed):
            raise JobFileError(
                f"each of {_length(rule.frames)} frames needs one of {_length(rule.needed)}: name as many of both"
            )
    total = sum(rule.count for rule in rules)
    if total > MOST_NEEDS:
        raise JobFileError(f"{total} dependencies are more than the {MOST_NEEDS} of one job: merge frames in steps")
    _check_frames(frames, rules)
    _check_counts(rules)
    _check_cycles([rule for rule in rules if rule.job is None])


def _check_frames(frames: FrameSet, rules: Iterable[Needs]) -> None:
    known = set(frames) if len(frames.ranges) > 1 else frames.ranges[0]
    for rule in rules:
        for ids in (rule.frames, rule.needed) if rule.job is None else (rule.frames,):
            if (missing := next((number for number in _each(ids) if number not in known), None)) is not None:
                raise JobFileError(f"<needs> names frame/{missing}, which the job does not have: add it to <frames>")


def _check_counts(rules: Iterable[Needs]) -> None:
    """Count what each frame needs, where there is a chance that it is too much."""
    if sum(_length(rule.needed) for rule in rules) <= MOST_OF_A_FRAME:
        return
    counts: dict[int, int] = {}
    for rule in rules:
        more = 1 if rule.pairs else _length(rule.needed)
        for frame in _each(rule.frames):
            counts[frame] = counts.get(frame, 0) + more
    worst = max(counts, key=lambda frame: counts[frame])
    if counts[worst] > MOST_OF_A_FRAME:
        raise JobFileError(
            f"frame/{worst} needs {counts[worst]} frames, more than the {MOST_OF_A_FRAME} that one may need: "
            "merge them in steps"
        )


def _check_cycles(rules: list[Needs]) -> None:
    if all(needed < frame for rule in rules for frame, needed in rule):
        return  # all point one way: the usual case, which takes no memory
    graph = _Graph(rules)
    cycle = graph.cycle()
    if cycle:
        shown = [f"frame/{number}" for number in cycle]
        if len(shown) > _SHOWN:
            shown = [*shown[: _SHOWN // 2], f"({len(shown) - _SHOWN} more)", *shown[-_SHOWN // 2 :]]
        raise JobFileError(f"{IN_A_CYCLE}: {' → '.join(shown)}")


class _Graph:
    """Who needs whom in one job, in arrays: 16 bytes for a dependency."""

    def __init__(self, rules: list[Needs]) -> None:
        ids: dict[int, int] = {}
        for rule in rules:
            for number in (*_each(rule.frames), *_each(rule.needed)):
                ids.setdefault(number, len(ids))
        self._ids = array("q", ids)
        self._starts = array("q", bytes(8 * (len(ids) + 1)))
        for rule in rules:
            for frame, _ in rule:
                self._starts[ids[frame] + 1] += 1
        for at in range(len(ids)):
            self._starts[at + 1] += self._starts[at]
        place = self._starts[:]
        self._needed = array("q", bytes(8 * self._starts[-1]))
        for rule in rules:
            for frame, needed in rule:
                at = ids[frame]
                self._needed[place[at]] = ids[needed]
                place[at] += 1

    def cycle(self) -> list[int]:
        """Frame ids, each of which needs the next, the last being the first again; empty where there is no cycle."""
        fresh, under_way, settled = 0, 1, 2
        marks = bytearray(len(self._ids))
        nexts = self._starts[:]
        for start in range(len(self._ids)):
            path = [start] if marks[start] == fresh else []
            while path:
                at = path[-1]
                marks[at] = under_way
                if nexts[at] == self._starts[at + 1]:
                    marks[at] = settled
                    path.pop()
                    continue
                to = self._needed[nexts[at]]
                nexts[at] += 1
                if marks[to] == under_way:
                    return [self._ids[one] for one in (*path[path.index(to) :], to)]
                if marks[to] == fresh:
                    path.append(to)
        return []


def restricted(rules: Iterable[Needs], frames: FrameSet) -> tuple[Needs, ...]:
    """The rules for these frames only: somebody asks for fewer frames than the job file names."""
    known = set(frames)
    return tuple(left for rule in rules if (left := _restricted(rule, known)) is not None)


def _restricted(rule: Needs, known: set[int]) -> Needs | None:
    if all(number in known for number in _each(rule.frames)):
        return rule
    if not rule.pairs:
        kept = [number for number in _each(rule.frames) if number in known]
        return replace(rule, frames=frameset.of(kept)) if kept else None
    pairs = [pair for pair in rule if pair[0] in known]
    if not pairs:
        return None
    return replace(
        rule, frames=frameset.of(frame for frame, _ in pairs), needed=frameset.of(needed for _, needed in pairs)
    )
