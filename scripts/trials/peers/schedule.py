"""Which fault strikes which server, line or message, when and for how long: follows from the seed alone."""

from __future__ import annotations

import random

from trials.peers.shapes import Shape
from trials.schedule import Fault, Kind, kinds, points

WEIGHTS = {
    Kind.CUT_LINE: 24,
    Kind.HOLE_LINE: 14,
    Kind.KILL_BROKER: 10,
    Kind.KILL_SERVER: 14,
    Kind.KILL_WORKER: 10,
    Kind.REPLAY: 8,
    Kind.DUPLICATE: 6,
    Kind.REORDER: 6,
    Kind.POISON: 4,
    Kind.DELETE_QUEUE: 4,
}
"""How often each strikes where there are many faults; each strikes once first"""
LONGEST = 60.0
"""seconds that a line may be cut, or swallow everything: longer than a peer may be silent; the shortest is a sixth"""
_MEDDLES = (2.0, 6.0)
"""seconds for which messages are repeated, or kept back to be mixed"""
_OF_LINES = (Kind.CUT_LINE, Kind.HOLE_LINE, Kind.REPLAY, Kind.DUPLICATE, Kind.REORDER, Kind.POISON, Kind.DELETE_QUEUE)


def plan(*, seed: int, frames: int, faults: int, shape: Shape, workers: int, longest: float = LONGEST) -> list[Fault]:
    """The faults in the order in which they strike; `workers`: how many each server has."""
    random_ = random.Random(f"peers {seed} {frames} {faults} {len(shape.names)} {len(shape.lines)} {workers}")
    planned = []
    chosen = zip(kinds(random_, faults, WEIGHTS), points(random_, faults, frames), strict=True)
    for number, (kind, at) in enumerate(chosen, start=1):
        site, peer = _where(random_, kind, shape)
        planned.append(
            Fault(
                number=number,
                kind=kind,
                at=at,
                delay=round(random_.uniform(0.0, 1.0), 2),
                seconds=_seconds(random_, kind, longest),
                worker=random_.randint(1, workers) if kind is Kind.KILL_WORKER else None,
                drop=random_.random() < 0.5,
                site=site,
                peer=peer,
            )
        )
    return planned


def _where(random_: random.Random, kind: Kind, shape: Shape) -> tuple[str, str | None]:
    if kind not in _OF_LINES:
        return random_.choice(shape.names), None
    line = random_.choice(shape.lines)
    ends = [line.adds, line.accepts]
    if kind is not Kind.POISON:  # nothing stops a shovel that puts what it has fetched into a queue of its own node
        random_.shuffle(ends)
    return ends[0], ends[1]


def _seconds(random_: random.Random, kind: Kind, longest: float) -> float:
    if kind in (Kind.CUT_LINE, Kind.HOLE_LINE):
        return round(random_.uniform(longest / 6, longest), 1)
    return round(random_.uniform(*_MEDDLES), 1) if kind in (Kind.DUPLICATE, Kind.REORDER) else 0.0
