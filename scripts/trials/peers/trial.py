"""One trial of several servers: jobs at all of them while faults strike, then all is fetched and judged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trials import recordings, renderlog
from trials.checker import Evidence, Verdict
from trials.course import LOOK_EVERY, Course, Say, Watch, lead
from trials.farm import Size
from trials.peers import checker, submitter
from trials.peers.disturber import PeersDisturber
from trials.peers.meddling import Meddler
from trials.peers.rest import restless
from trials.peers.shapes import Shape
from trials.peers.sites import Sites
from trials.peers.submitter import PeerPromise, PeersSubmitter
from trials.recordings import Listener

_RESTS_WITHIN = 240.0
"""seconds after the last frame: longer than the longest pause between two repetitions of a message"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The verdict, and what the trial was made of. `rendered`: by whose workers whose frames were rendered."""

    verdict: Verdict
    rendered: dict[tuple[str, str], int]
    ways: dict[str, int]
    doubtful: int
    boot: float
    rested: float
    exits: list[str] = field(default_factory=list)


def run(folder: Path, shape: Shape, size: Size, course: Course, say: Say) -> Outcome:
    """Make the farms in `folder`, lead them through `course`, and judge. What is left in `folder` are their logs."""
    sites = Sites(folder, shape, size)
    with sites.running():
        say(f"{len(shape.names)} farms are up after {sites.boot:.1f} s")
        return _lead(sites, course, say)


def _lead(sites: Sites, course: Course, say: Say) -> Outcome:
    listeners = {site.name: Listener(site.direct_url, site.name) for site in sites}
    meddler = Meddler(sites, course.seed)
    meddler.open_taps()
    submitting = PeersSubmitter(
        sites,
        seed=course.seed,
        plans=submitter.plans(course.seed, course.frames, sites),
        seconds=course.seconds,
        begun=renderlog.Counter(sites.render_log).begun,
        ahead=20 * sites.size.workers * sites.size.slots * len(sites.by_name),
    )
    begun = renderlog.Counter(sites.render_log).begun
    disturbing = PeersDisturber(sites, meddler, course.plan, begun=begun, say=say)
    trouble = lead(submitting, disturbing, _Watch(sites, submitting), course, say)
    meddler.close_taps()
    began = time.monotonic()
    trouble += _wait_for_rest(sites, say)
    rested = time.monotonic() - began
    evidence = _evidence(sites, submitting, disturbing, listeners, trouble)
    for listener in listeners.values():
        listener.close()
    return _outcome(sites, evidence, len(submitting.doubtful), rested)


class _Watch(Watch[PeerPromise]):
    """Asks the servers that have them."""

    def __init__(self, sites: Sites, submitting: PeersSubmitter) -> None:
        super().__init__(submitting, renderlog.Counter(sites.render_log).begun)
        self._sites = sites

    def look(self, promises: Sequence[PeerPromise]) -> None:
        for site in self._sites:
            if waiting := [one for one in promises if one.server == site.name]:
                with site.at() as client:
                    for promise in waiting:
                        self.note(client, promise)


def _wait_for_rest(sites: Sites, say: Say) -> list[str]:
    """Until nothing is left to be done anywhere; what is, if that does not end."""
    deadline, told = time.monotonic() + _RESTS_WITHIN, time.monotonic()
    while left := restless(sites):
        if time.monotonic() > deadline:
            return [f"no rest after {_RESTS_WITHIN:.0f} s: {'; '.join(left[:10])}"]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"all frames are done; waiting for {'; '.join(left[:4])}")
        time.sleep(LOOK_EVERY)
    return []


def _evidence(
    sites: Sites,
    submitting: PeersSubmitter,
    disturbing: PeersDisturber,
    listeners: dict[str, Listener],
    trouble: list[str],
) -> Evidence:
    promises: list[PeerPromise] = []
    jobs: list[str] = []
    recorded, fetched = {}, {}
    promised = [_settled(sites, one) for one in submitting.promises]
    for site in sites:
        with site.at() as client:
            known = {job.name: job.job for job in client.jobs()}
            jobs += [job.name for job in client.jobs()]
            own = [one for one in promised if one.server == site.name]
            own += [
                PeerPromise(**vars(one), job=known[one.token], at=0.0, tries=1)
                for one in submitting.doubtful
                if one.server == site.name and one.token in known
            ]
            recorded |= recordings.recorded(client, own, listeners[site.name].told)
            found, unfetched = recordings.fetched(client, own, sites.folder / "fetched")
            fetched |= found
            trouble = [*trouble, *unfetched]
            promises += own
    return Evidence(
        promises=promises,
        jobs=jobs,
        recorded=recorded,
        fetched=fetched,
        renderings=renderlog.read(sites.render_log),
        struck=list(disturbing.struck),
        boot=sites.boot / len(sites.by_name),
        trouble=trouble,
    )


def _settled(sites: Sites, promise: PeerPromise) -> PeerPromise:
    """With the place at which the job is now; a client follows one that was moved."""
    if not promise.moved:
        return promise
    with sites[promise.by].at() as client:
        job = client.job(promise.job)
        job.info()
        return replace(promise, server=job.server, job=job.id)


def _outcome(sites: Sites, evidence: Evidence, doubtful: int, rested: float) -> Outcome:
    owners = {one.token: one.server for one in evidence.promises if isinstance(one, PeerPromise)}
    rendered: dict[tuple[str, str], int] = {}
    for one in evidence.renderings:
        key = checker.site_of(one), owners.get(one.token, "nobody")
        rendered[key] = rendered.get(key, 0) + 1
    ways: dict[str, int] = {}
    for promise in evidence.promises:
        if isinstance(promise, PeerPromise):
            ways[promise.way] = ways.get(promise.way, 0) + promise.frames
    if not any(by != owner for by, owner in rendered):
        evidence = replace(evidence, trouble=[*evidence.trouble, "no frame was lent: no trial at all"])
    return Outcome(
        verdict=checker.judge(evidence),
        rendered=rendered,
        ways=ways,
        doubtful=doubtful,
        boot=sites.boot,
        rested=rested,
        exits=[f"{site.name}/{one.name} {one.code}" for site in sites for s in site.services for one in s.exits],
    )
