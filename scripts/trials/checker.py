"""Judges a trial by what was rendered, promised and fetched; the farm's own word is never enough.

Pure: from evidence to a verdict.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trials.disturber import ALL, Struck
from trials.renderlog import Key, Rendering, by_frame
from trials.schedule import Kind
from trials.submitter import Promise

sys.path.insert(0, str(Path(__file__).parent / "renderer"))

from trial_program import content  # the frame's bytes, by the rule that the program follows

WASTE = 0.05
"""share of the frames that may be rendered in vain at most, whatever the faults"""
AGAIN_WITHIN = 30.0
"""seconds from a kill until the frames that it concerned are rendered again, on a machine that is not slow"""
AGAIN_SHARE = 0.95
USUAL_BOOT = 20.0
"""seconds that a farm takes to start on a machine that is not slow; a slower one is given more time in proportion"""
_UNSETTLED = 2.0
"""seconds before a fault in which a frame may have ended whose result the broker had not confirmed"""
_SERVER_BACK = 10.0
"""seconds that a server may take after a fault to catch up"""
_LATE = 0.5
"""seconds after a kill in which a renderer that it orphaned may still say that it has begun"""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A result that the farm has recorded: by which of its attempts, and `times`: the ends that listeners were told."""

    attempts: Sequence[str]
    times: frozenset[float] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a trial left behind.

    `jobs`: the names of the jobs that the farm lists; `fetched`: the bytes' SHA-256 by frame, None where a frame's
    file is not there or could not be had; `boot`: seconds that the farm took to start.
    """

    promises: Sequence[Promise]
    renderings: Sequence[Rendering]
    struck: Sequence[Struck]
    jobs: Sequence[str]
    recorded: Mapping[Key, Recorded]
    fetched: Mapping[Key, str | None]
    boot: float = 0.0
    trouble: Sequence[str] = ()
    """what kept the trial itself from going its way"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found. `failures` has one line for each rule that is broken; a good farm leaves none."""

    frames: int
    rendered: int
    faults: int
    lost: int
    missing: int
    doubled: int
    corrupt: int
    wasted: int
    in_hand: int
    unexplained: int
    outlived: int
    again: Sequence[float] = ()
    affected: Sequence[float] = ()
    again_limit: float = AGAIN_WITHIN
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failures: Sequence[str] = ()

    @property
    def good(self) -> bool:
        return not self.failures

    def record(self) -> dict[str, Any]:
        """For JSON."""
        waits = {name: sorted(round(one, 2) for one in getattr(self, name)) for name in ("again", "affected")}
        return {**vars(self), **waits, "good": self.good}


def judge(
    evidence: Evidence,
    *,
    hands: Mapping[Key, int] | None = None,
    waste: float = WASTE,
    again_within: float = AGAIN_WITHIN,
) -> Verdict:
    """Apply every rule. `hands`: how often each frame was in hand at a fault, where `in_hand` does not say it.

    `waste` is the share of frames that may be rendered in vain; `again_within` are seconds from a kill until frames run
    again.
    """
    promised = {(one.token, frame): one for one in evidence.promises for frame in range(1, one.frames + 1)}
    tries = by_frame(evidence.renderings)
    lost = [key for key in promised if key not in evidence.recorded]
    missing = [key for key in evidence.recorded if evidence.fetched.get(key) is None]
    corrupt = [key for key, digest in evidence.fetched.items() if digest is not None and digest != expected(key)]
    corrupt += _phantoms(evidence)
    doubled = [key for key, one in evidence.recorded.items() if len(one.attempts) != 1 or len(one.times) > 1]
    again_limit = again_within * max(1.0, evidence.boot / USUAL_BOOT)
    counted = {
        "lost": lost,
        "missing": missing,
        "recorded twice": doubled,
        "corrupt": corrupt,
        "handed in twice": _handed_in_twice(evidence),
    }
    wasted = sum(len(several) - 1 for several in tries.values())
    hands = in_hand(evidence.renderings, evidence.struck) if hands is None else hands
    again = rendered_again(evidence)
    affected = [*again, *running_on(evidence)]
    failures = [f"{len(keys)} {what}" for what, keys in counted.items() if keys]
    failures += _waste(wasted, sum(hands.values()), len(promised), waste)
    failures += _slow(again, again_limit, "frames of killed workers not rendered again")
    failures += _slow(affected, again_limit, "frames in hand at a kill not running again")
    failures += evidence.trouble
    if not promised or len(evidence.renderings) < len(promised):
        failures.append(
            f"{len(promised)} frames were promised and {len(evidence.renderings)} rendered: no trial at all"
        )
    return Verdict(
        frames=len(promised),
        rendered=len(evidence.renderings),
        faults=len(evidence.struck),
        lost=len(lost),
        missing=len(missing),
        doubled=len(doubled),
        corrupt=len(corrupt),
        wasted=wasted,
        in_hand=sum(hands.values()),
        unexplained=sum(max(0, len(several) - 1 - hands.get(key, 0)) for key, several in tries.items()),
        outlived=len(outlived(evidence)),
        again=again,
        affected=affected,
        again_limit=again_limit,
        examples={what: [f"{token}/{frame}" for token, frame in keys[:10]] for what, keys in counted.items() if keys},
        failures=failures,
    )


def expected(key: Key) -> str:
    """SHA-256 of what a frame must be."""
    return hashlib.sha256(content(*key)).hexdigest()


def _phantoms(evidence: Evidence) -> list[Key]:
    """Results of attempts that nobody made, or that ended with other bytes."""
    made = {one.attempt: one for one in evidence.renderings}
    found = []
    for key, recorded in evidence.recorded.items():
        for attempt in recorded.attempts:
            one = made.get(attempt)
            if one is None or one.key != key or one.digest != expected(key):
                found.append(key)
                break
    return found


def _handed_in_twice(evidence: Evidence) -> list[Key]:
    """Jobs that the farm has more than once, or that nobody handed in."""
    jobs = list(evidence.jobs)
    promised = {one.token for one in evidence.promises}
    return [(name, 0) for name in sorted(set(jobs)) if jobs.count(name) > 1 or name not in promised]


def in_hand(renderings: Sequence[Rendering], struck: Sequence[Struck]) -> dict[Key, int]:
    """How often each frame was in the hands of a worker when a fault struck that worker, or the broker.

    In hand: being rendered, or rendered so shortly before that the broker need not have confirmed it.
    """
    found: dict[Key, int] = {}
    since = {fault: _since(fault, struck) for fault in struck}
    for one in renderings:
        for fault in struck:
            concerned = fault.worker in (ALL, one.worker)
            begun_before = one.began < fault.ended + _LATE
            if concerned and begun_before and (one.ended is None or one.ended > since[fault]):
                found[one.key] = found.get(one.key, 0) + 1
    return found


def _since(fault: Struck, struck: Sequence[Struck]) -> float:
    """From when on results may not have arrived when this fault struck, in seconds since 1970.

    Where a broker's data are deleted, with what it has confirmed goes all that a server that was away could not take.
    """
    since = fault.began - _UNSETTLED
    if fault.fault.kind is not Kind.DELETE_BROKER:
        return since
    away = [one for one in struck if one.fault.kind.endswith("server") and one.ended > since - _SERVER_BACK]
    return min([since, *(one.began - _UNSETTLED for one in away if one.began < fault.began)])


def rendered_again(evidence: Evidence) -> list[float]:
    """Seconds from each kill of a worker until each frame that it was rendering is rendered by another attempt."""
    waits = []
    tries = by_frame(evidence.renderings)
    for fault in evidence.struck:
        if fault.fault.kind is Kind.KILL_WORKER:
            for one in _rendering(evidence.renderings, fault):
                others = [other for other in tries[one.key] if other is not one]
                if not any(_lasted(other, fault.began) for other in others):
                    waits.append(min((o.began - fault.began for o in others if o.began > fault.began), default=1e6))
    return waits


def running_on(evidence: Evidence) -> list[float]:
    """Seconds from each kill of a server or broker until each frame that was being rendered runs again.

    0 where the attempt that was under way is the one that counts: it has never stopped.
    """
    waits = []
    tries = by_frame(evidence.renderings)
    for fault in evidence.struck:
        if fault.is_kill and fault.fault.kind is not Kind.KILL_WORKER:
            for one in evidence.renderings:
                if one.began < fault.began < (one.ended or 0.0):
                    recorded = evidence.recorded.get(one.key)
                    others = [other for other in tries[one.key] if other is not one]
                    lasts = recorded is not None and one.attempt in recorded.attempts
                    if lasts or any(_lasted(other, fault.began) for other in others):
                        waits.append(0.0)
                    else:
                        waits.append(min((o.began - fault.began for o in others if o.began > fault.began), default=1e6))
    return waits


def _rendering(renderings: Sequence[Rendering], fault: Struck) -> list[Rendering]:
    """What the killed worker was rendering."""
    return [
        one
        for one in renderings
        if one.worker == fault.worker and one.began < fault.began and (one.ended is None or one.ended > fault.ended)
    ]


def _lasted(other: Rendering, moment: float) -> bool:
    """Whether another attempt at the frame was under way, or done, at that moment."""
    return other.began < moment and (other.ended is not None)


def outlived(evidence: Evidence) -> list[Rendering]:
    """Renderings that ended more than a moment after their worker was killed: nothing may survive a worker."""
    found = []
    for fault in evidence.struck:
        if fault.fault.kind is Kind.KILL_WORKER:
            found += [one for one in _rendering(evidence.renderings, fault) if (one.ended or 0) > fault.ended + _LATE]
    return found


def _waste(wasted: int, in_hand: int, frames: int, share: float) -> list[str]:
    found = []
    if wasted > in_hand:
        found.append(f"{wasted} rendered in vain, where {in_hand} were in hand at the faults")
    if wasted > share * frames:
        found.append(f"{wasted} of {frames} frames rendered in vain: more than {share:.0%}")
    return found


def _slow(again: Sequence[float], limit: float, what: str) -> list[str]:
    late = [one for one in again if one > limit]
    if len(late) <= (1 - AGAIN_SHARE) * len(again):
        return []
    return [f"{len(late)} of {len(again)} {what} within {limit:.0f} s"]
