"""What a change of some frames means for the frames that need them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from distren.domain import frame as frame_rules
from distren.domain.frame import Frame
from distren.domain.needs import IN_A_CYCLE
from distren.domain.states import FrameState
from distren.storage import dependencies, far, identity
from distren.storage.dependencies import BROKEN, Key
from distren.urls import Url

Rule = Callable[[Frame], Frame]


@dataclass(frozen=True, kw_only=True)
class Move:
    """A frame has gone from one state to another; `needed`: other frames may need it."""

    key: Key
    before: FrameState
    after: FrameState
    needed: bool


@dataclass(frozen=True)
class Kinds:
    """What moves mean for the frames that need the moved ones: the moved frames that mean each."""

    done: Collection[Key]
    failing: Mapping[Key, FrameState]
    mended: Collection[Key]

    @classmethod
    def of(cls, moves: Collection[Move]) -> Kinds:
        needed = [move for move in moves if move.needed]
        return cls(
            done={move.key for move in needed if move.after is FrameState.DONE},
            failing={move.key: move.after for move in needed if move.after in BROKEN},
            mended={move.key for move in needed if move.before in BROKEN and move.after not in BROKEN},
        )


def of(connection: Connection, moves: Collection[Move], kinds: Kinds, now: float) -> Mapping[Key, list[Rule]]:
    """The rules to apply to other frames (and to these). The moves are in the database already.

    What follows from failures and from retries reaches all frames along the way at once, however long the chain is.
    `kinds` are those of the moves that have not been followed otherwise.
    """
    rules: defaultdict[Key, list[Rule]] = defaultdict(list)
    for key, count in dependencies.dependents(connection, kinds.done).items():
        rules[key].append(partial(frame_rules.need_done, count=count))
    withdrawn = {move.key for move in moves if move.needed and move.before is FrameState.DONE}
    for key, count in dependencies.dependents(connection, withdrawn).items():
        rules[key].append(partial(frame_rules.need_withdrawn, count=count))
    for key, reason in _starving(connection, moves, kinds.failing).items():
        rules[key].append(partial(frame_rules.starve, reason=reason, now=now))
    for key in dependencies.starved_by(connection, kinds.mended):
        rules[key].append(frame_rules.revive)
    return rules


def _starving(connection: Connection, moves: Collection[Move], failing: Mapping[Key, FrameState]) -> dict[Key, str]:
    """The frames that wait in vain, with the reason: a frame that they need has just failed, or has long since."""
    blocked = {move.key for move in moves if move.after is FrameState.BLOCKED}
    broken = dependencies.broken(connection, blocked)
    reached = dependencies.waiting_on(connection, {*failing, *broken})
    if not broken and not reached:
        return {}
    server, away = identity.stored_name(connection), far.every(connection)
    starving = {key: (need, failing.get(need, FrameState.FAILED)) for key, need in reached.items()}
    reasons = {}
    for key, (need, state) in (starving | broken).items():
        if need[0] not in away:
            reasons[key] = _reason(server, need, state)
            continue
        job = away[need[0]]
        why = far.reason_of(connection, need)
        reason = _reason(job.peer, (job.of_job, need[1]), state) + (f": {why}" if why else "")
        reasons[key] = why if why and why.startswith(IN_A_CYCLE) else reason
    return reasons


def _reason(server: str | None, need: Key, state: FrameState) -> str:
    url = Url(server=server, job=need[0], frame=need[1])
    return f"needs {url}, which {'failed' if state is FrameState.FAILED else 'was cancelled'}"
