"""Judges a trial among several servers: as for one, and by whose hands which frames were in when a line was cut.

Pure: from evidence to a verdict.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from trials import checker
from trials.checker import Evidence, Verdict
from trials.disturber import Struck
from trials.peers.submitter import PeerPromise
from trials.renderlog import Key, Rendering
from trials.schedule import Kind

WASTE = 0.15
"""share of the frames that may be rendered in vain at most: what a silent peer has is rendered elsewhere as well"""
_BEFORE = 2.0
"""seconds before a fault in which a frame may have ended whose result had not reached the owner of its job"""
_AGAIN_WITHIN = 120.0
"""seconds from a kill until frames run again: what a peer has may be out of reach, and it counts as silent after 45"""
_AFTER = {
    Kind.KILL_WORKER: 0.5,
    Kind.KILL_BROKER: 30.0,
    Kind.KILL_SERVER: 30.0,
    Kind.CUT_LINE: 30.0,
    Kind.HOLE_LINE: 60.0,
    Kind.REORDER: 60.0,
    Kind.POISON: 60.0,
    Kind.DELETE_QUEUE: 60.0,
}
"""seconds from the end of a fault until all is as before: connections, hellos every 15 s, messages that are repeated"""


def judge(evidence: Evidence) -> Verdict:
    """Apply every rule."""
    hands, moved = in_hand(evidence), _moved(evidence)
    # What the move of its job stopped is in no hand any more, whatever becomes of the worker.
    renderings = [
        replace(one, ended=one.began) if one.ended is None and one.began < moved.get(one.token, 0.0) else one
        for one in evidence.renderings
    ]
    return checker.judge(replace(evidence, renderings=renderings), hands=hands, waste=WASTE, again_within=_AGAIN_WITHIN)


def _moved(evidence: Evidence) -> dict[str, float]:
    """Until when each job may have been on its way to another server; 0 for one that never was."""
    return {one.token: one.moved for one in evidence.promises if isinstance(one, PeerPromise)}


def in_hand(evidence: Evidence) -> dict[Key, int]:
    """How often each frame was in hands that a fault, or the move of its job, kept from the owner of the job."""
    moved = _moved(evidence)
    owners = {one.token: one.server for one in evidence.promises if isinstance(one, PeerPromise)}
    found: Counter[Key] = Counter()
    for one in evidence.renderings:
        found[one.key] += one.began < moved.get(one.token, 0.0)
        for struck in evidence.struck:
            if is_concerned(one, owners.get(one.token), struck) and _meets(one, struck):
                found[one.key] += 1
    return dict(found)


def is_concerned(one: Rendering, owner: str | None, struck: Struck) -> bool:
    """Whether a fault stood between a rendering and the owner of its job."""
    fault, worker_site = struck.fault, site_of(one)
    if fault.kind is Kind.KILL_WORKER:
        return one.worker == struck.worker
    if fault.peer is None:
        return fault.site in (worker_site, owner)
    return {fault.site, fault.peer} == {worker_site, owner}


def site_of(one: Rendering) -> str:
    """The site whose worker rendered."""
    return one.worker.partition("/")[0]


def _meets(one: Rendering, struck: Struck) -> bool:
    after = _AFTER.get(struck.fault.kind)
    if after is None:
        return False
    return one.began < struck.ended + after and (one.ended is None or one.ended > struck.began - _BEFORE)
