"""One trial of several servers: jobs at all of them while faults strike, then all is fetched and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from distren.client.farm import Farm
from distren.domain.states import JobState
from distren.errors import DistrenError
from trials import recordings, renderlog
from trials.checker import Evidence, Verdict
from trials.farm import Size
from trials.peers import checker, submitter
from trials.peers.disturber import PeersDisturber
from trials.peers.meddling import Meddler
from trials.peers.rest import restless
from trials.peers.shapes import Shape
from trials.peers.sites import Sites
from trials.peers.submitter import PeerPromise, PeersSubmitter
from trials.recordings import Listener
from trials.schedule import Fault
from trials.trial import SECONDS

_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
_LOOK_EVERY = 1.0
_RESTS_WITHIN = 240.0
"""seconds after the last frame: longer than the longest pause between two repetitions of a message"""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happens in a trial. `stall`: seconds without any progress after which the trial is given up."""

    seed: int
    frames: int
    plan: list[Fault]
    seconds: tuple[float, float] = SECONDS
    stall: float = 240.0


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
    submitting.start()
    disturbing.start()
    trouble = _see_it_through(sites, course, submitting, disturbing, say)
    submitting.end()
    disturbing.end()
    submitting.join(60)
    disturbing.join(120)
    meddler.close_taps()
    trouble += [f"a job was refused: {submitting.failure}"] if submitting.failure else []
    trouble += [f"the trial's own fault: {disturbing.failure!r}"] if disturbing.failure else []
    if len(disturbing.struck) < len(course.plan):
        trouble.append(f"only {len(disturbing.struck)} of {len(course.plan)} faults have struck")
    began = time.monotonic()
    trouble += _wait_for_rest(sites, say)
    rested = time.monotonic() - began
    evidence = _evidence(sites, submitting, disturbing, listeners, trouble)
    for listener in listeners.values():
        listener.close()
    return _outcome(sites, evidence, len(submitting.doubtful), rested)


def _see_it_through(
    sites: Sites, course: Course, submitting: PeersSubmitter, disturbing: PeersDisturber, say: Say
) -> list[str]:
    """Wait until all has been handed in and has struck, and every job has ended; why not, if nothing moves any more."""
    watch = _Watch(sites, submitting)
    moved, told = time.monotonic(), 0.0
    while not (watch.all_ended() and not submitting.is_alive() and not disturbing.is_alive()):
        if watch.has_moved():
            moved = time.monotonic()
        if time.monotonic() - moved > course.stall:
            return [f"nothing has moved for {course.stall:.0f} s: {watch.standing}"]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(watch.standing)
        time.sleep(_LOOK_EVERY)
    return []


class _Watch:
    """Follows the jobs at the servers that have them."""

    def __init__(self, sites: Sites, submitting: PeersSubmitter) -> None:
        self._sites, self._submitting = sites, submitting
        self._begun = renderlog.Counter(sites.render_log)
        self._ended: set[str] = set()
        self._done: dict[str, int] = {}
        self._last: object = None
        self.standing = "nothing is known yet"

    def all_ended(self) -> bool:
        """Whether every job that was promised has ended, one way or the other."""
        promises = list(self._submitting.promises)
        for site in self._sites:
            waiting = [one for one in promises if one.server == site.name and one.token not in self._ended]
            if waiting:
                try:
                    with site.at() as client:
                        self._look(client, waiting)
                except DistrenError:
                    return False
        done, begun = sum(self._done.values()), self._begun.begun()
        self.standing = f"{done} done of {sum(one.frames for one in promises)}, {begun} begun"
        return all(one.token in self._ended for one in promises)

    def _look(self, client: Farm, waiting: Iterable[PeerPromise]) -> None:
        for promise in waiting:
            info = client.job(promise.job).info()
            self._done[promise.token] = info.counts.get("done", 0)
            if info.state in _ENDED:
                self._ended.add(promise.token)

    def has_moved(self) -> bool:
        now = (sum(self._done.values()), self._begun.begun(), len(self._submitting.promises))
        moved, self._last = now != self._last, now
        return moved


def _wait_for_rest(sites: Sites, say: Say) -> list[str]:
    """Until nothing is left to be done anywhere; what is, if that does not end."""
    deadline, told = time.monotonic() + _RESTS_WITHIN, time.monotonic()
    while left := restless(sites):
        if time.monotonic() > deadline:
            return [f"no rest after {_RESTS_WITHIN:.0f} s: {'; '.join(left[:10])}"]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"all frames are done; waiting for {'; '.join(left[:4])}")
        time.sleep(_LOOK_EVERY)
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
    for site in sites:
        with site.at() as client:
            known = {job.name: job.job for job in client.jobs()}
            jobs += [job.name for job in client.jobs()]
            own = [one for one in submitting.promises if one.server == site.name]
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
