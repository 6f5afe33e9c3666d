"""Which fault strikes what, when and for how long: follows from the seed alone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done, and to whom."""

    KILL_WORKER = "kill worker"  #: kill -9; started again
    KILL_SERVER = "kill server"
    KILL_BROKER = "kill broker"
    STOP_WORKER = "stop worker"  #: SIGSTOP, later SIGCONT
    STOP_SERVER = "stop server"
    STOP_BROKER = "stop broker"
    CUT_WORKER = "cut worker"  #: its connections are reset, and refused for a while
    CUT_SERVER = "cut server"
    CUT_CLIENT = "cut client"
    HOLE_WORKER = "hole worker"  #: nothing passes, and nobody is told
    HOLE_SERVER = "hole server"
    FILL_WORKER = "fill worker"  #: its disk is full for a while
    FILL_SERVER = "fill server"
    DELETE_BROKER = "delete broker"  #: killed, its data deleted, started again
    # Between servers; peers/schedule.py plans these.
    CUT_LINE = "cut line"  #: the connections between two brokers are reset, and refused for a while
    HOLE_LINE = "hole line"  #: what one of two brokers sends does not arrive, and nobody is told
    REPLAY = "replay"  #: messages that a peer was sent before are sent again
    DUPLICATE = "duplicate"  #: for a while, each message to a peer is sent twice
    REORDER = "reorder"  #: messages that wait for a line are mixed
    POISON = "poison"  #: a message that stops a shovel for good
    DELETE_QUEUE = "delete queue"  #: the queue that a peer's messages arrive in, in mid-transfer


WEIGHTS = {
    Kind.KILL_WORKER: 30,
    Kind.KILL_SERVER: 14,
    Kind.KILL_BROKER: 8,
    Kind.STOP_WORKER: 10,
    Kind.STOP_SERVER: 5,
    Kind.STOP_BROKER: 3,
    Kind.CUT_WORKER: 10,
    Kind.CUT_SERVER: 6,
    Kind.CUT_CLIENT: 2,
    Kind.HOLE_WORKER: 4,
    Kind.HOLE_SERVER: 2,
    Kind.FILL_WORKER: 3,
    Kind.FILL_SERVER: 2,
    Kind.DELETE_BROKER: 2,
}
"""How often each strikes a single farm where there are many faults; each that is possible strikes once first"""
DISKS = frozenset({Kind.FILL_WORKER, Kind.FILL_SERVER})
_LASTS = {
    Kind.STOP_WORKER: (2.0, 8.0),
    Kind.STOP_SERVER: (2.0, 8.0),
    Kind.STOP_BROKER: (2.0, 5.0),
    Kind.CUT_WORKER: (0.0, 5.0),
    Kind.CUT_SERVER: (0.0, 5.0),
    Kind.CUT_CLIENT: (0.0, 3.0),
    Kind.HOLE_WORKER: (3.0, 12.0),
    Kind.HOLE_SERVER: (2.0, 8.0),
    Kind.FILL_WORKER: (2.0, 6.0),
    Kind.FILL_SERVER: (2.0, 5.0),
}
"""seconds, at least and at most"""
_TOGETHER = 0.15
"""share of the faults that strike close after the one before, while that is still being recovered from"""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Strikes `delay` seconds after `at` attempts have begun; `worker` is a number from 1 where it strikes one.

    `drop`: the connections that a black hole held back do not go on when it ends. Among several servers `site` is the
    one that is struck; where it is the line to another one, or messages on their way there, `peer` is that.
    """

    number: int
    kind: Kind
    at: int
    delay: float
    seconds: float = 0.0
    worker: int | None = None
    drop: bool = False
    site: str | None = None
    peer: str | None = None

    def __str__(self) -> str:
        whom = self.kind if self.worker is None else f"{self.kind} {self.worker}"
        whom += "" if self.site is None else f" of {self.site}"
        whom += "" if self.peer is None else f" to {self.peer}"
        return f"{whom} for {self.seconds:.1f} s" if self.seconds else whom


def plan(*, seed: int, frames: int, faults: int, workers: int, disks: bool) -> list[Fault]:
    """The faults in the order in which they strike, between the first and the last twentieth of the frames.

    `disks`: file systems can be filled here.
    """
    random_ = random.Random(f"chaos {seed} {frames} {faults} {workers}")
    chosen = kinds(random_, faults, {kind: WEIGHTS[kind] for kind in WEIGHTS if disks or kind not in DISKS})
    planned: list[Fault] = []
    for number, (kind, at) in enumerate(zip(chosen, points(random_, faults, frames), strict=True), start=1):
        together = planned and random_.random() < _TOGETHER
        planned.append(
            Fault(
                number=number,
                kind=kind,
                at=planned[-1].at if together else at,
                delay=round(random_.uniform(0.0, 3.0 if together else 0.5), 2),
                seconds=round(random_.uniform(*_LASTS[kind]), 1) if kind in _LASTS else 0.0,
                worker=_worker(random_, kind, workers),
                drop=random_.random() < 0.5,
            )
        )
    return planned


def kinds(random_: random.Random, faults: int, weights: Mapping[Kind, int]) -> list[Kind]:
    """What strikes, in its order: each kind once, and what is left by `weights`."""
    first = list(weights)
    random_.shuffle(first)
    more = random_.choices(list(weights), list(weights.values()), k=max(faults - len(first), 0))
    chosen = [*first, *more][:faults]
    random_.shuffle(chosen)
    return chosen


def points(random_: random.Random, faults: int, frames: int) -> list[int]:
    """After how many attempts each strikes."""
    return sorted(random_.randint(frames // 20, frames - frames // 10) for _ in range(faults))


def _worker(random_: random.Random, kind: Kind, workers: int) -> int | None:
    if not kind.endswith("worker"):
        return None
    return 1 if kind is Kind.FILL_WORKER else random_.randint(1, workers)
