"""One trial: jobs handed in while faults strike, then everything is asked for, fetched and judged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distren.client.farm import Farm
from distren.domain.states import JobState
from distren.errors import DistrenError
from trials import checker, recordings, renderlog, submitter
from trials.checker import Evidence, Verdict
from trials.disturber import Disturber
from trials.farm import Size, TrialFarm
from trials.recordings import Listener, Told
from trials.schedule import Fault
from trials.submitter import Promise, Submitter

SECONDS = (0.1, 0.5)
"""shortest and longest frame"""
_LOOK_EVERY = 1.0
_ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happens in a trial. `stall`: seconds without any progress after which the trial is given up."""

    seed: int
    frames: int
    plan: list[Fault]
    seconds: tuple[float, float] = SECONDS
    stall: float = 150.0
    sizes: list[int] | None = None


def run(folder: Path, size: Size, course: Course, say: Say) -> tuple[Verdict, TrialFarm]:
    """Make a farm in `folder`, lead it through `course`, and judge it. What is left in `folder` are its logs."""
    farm = TrialFarm(folder, size)
    with farm.running():
        say(f"the farm is up after {farm.boot:.1f} s")
        evidence = gather(farm, course, say)
    return checker.judge(evidence), farm


def gather(farm: TrialFarm, course: Course, say: Say) -> Evidence:
    """Lead a running farm through `course`, and take down what came of it."""
    listener = Listener(farm.direct_url)
    try:
        submitting, disturbing, trouble = _disturb(farm, course, say)
        with farm.client(direct=True) as client:
            return _evidence(farm, client, listener.told, submitting, disturbing, trouble)
    finally:
        listener.close()


def _disturb(farm: TrialFarm, course: Course, say: Say) -> tuple[Submitter, Disturber, list[str]]:
    submitting = Submitter(
        farm.client,
        farm.folder / "jobs",
        seed=course.seed,
        sizes=course.sizes or submitter.sizes(course.seed, course.frames),
        seconds=course.seconds,
        begun=renderlog.Counter(farm.render_log).begun,
        ahead=20 * farm.size.workers * farm.size.slots,
    )
    disturbing = Disturber(farm, course.plan, begun=renderlog.Counter(farm.render_log).begun, say=say)
    submitting.start()
    disturbing.start()
    trouble = _see_it_through(farm, course, submitting, disturbing, say)
    submitting.end()
    disturbing.end()
    submitting.join(60)
    disturbing.join(120)
    trouble += [f"a job was refused: {submitting.failure}"] if submitting.failure else []
    trouble += [f"the trial's own fault: {disturbing.failure!r}"] if disturbing.failure else []
    if len(disturbing.struck) < len(course.plan):
        trouble.append(f"only {len(disturbing.struck)} of {len(course.plan)} faults have struck")
    return submitting, disturbing, trouble


def _see_it_through(
    farm: TrialFarm, course: Course, submitting: Submitter, disturbing: Disturber, say: Say
) -> list[str]:
    """Wait until all has been handed in and has struck, and every job has ended; why not, if nothing moves any more."""
    watch = _Watch(farm, submitting)
    moved, told = time.monotonic(), 0.0
    while not (watch.all_ended() and not submitting.is_alive() and not disturbing.is_alive()):
        if watch.has_moved():
            moved = time.monotonic()
        if time.monotonic() - moved > course.stall:
            return [f"nothing has moved for {course.stall:.0f} s: {watch.standing}"]
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"{watch.standing}")
        time.sleep(_LOOK_EVERY)
    return []


class _Watch:
    """Follows the jobs on a connection of its own."""

    def __init__(self, farm: TrialFarm, submitting: Submitter) -> None:
        self._farm, self._submitting = farm, submitting
        self._begun = renderlog.Counter(farm.render_log)
        self._last: object = None
        self.standing = "nothing is known yet"
        self._ended: set[int] = set()
        self._done: dict[int, int] = {}

    def all_ended(self) -> bool:
        """Whether every job that was promised has ended, one way or the other."""
        open_ = [one for one in self._submitting.promises if one.job not in self._ended]
        if open_:
            try:
                with self._farm.client(direct=True) as client:
                    for promise in open_:
                        self._look(client, promise)
            except DistrenError:
                return False
        done, begun = sum(self._done.values()), self._begun.begun()
        self.standing = f"{done} done of {sum(one.frames for one in self._submitting.promises)}, {begun} begun"
        return all(one.job in self._ended for one in self._submitting.promises)

    def _look(self, client: Farm, promise: Promise) -> None:
        info = client.job(promise.job).info()
        self._done[promise.job] = info.counts.get("done", 0)
        if info.state in _ENDED:
            self._ended.add(promise.job)

    def has_moved(self) -> bool:
        now = (sum(self._done.values()), self._begun.begun(), len(self._submitting.promises))
        moved, self._last = now != self._last, now
        return moved


def _evidence(
    farm: TrialFarm, client: Farm, told: Told, submitting: Submitter, disturbing: Disturber, trouble: list[str]
) -> Evidence:
    promises = list(submitting.promises)
    fetched, unfetched = recordings.fetched(client, promises, farm.folder / "fetched")
    return Evidence(
        promises=promises,
        jobs=[job.name for job in client.jobs()],
        recorded=recordings.recorded(client, promises, told),
        fetched=fetched,
        renderings=renderlog.read(farm.render_log),
        struck=list(disturbing.struck),
        boot=farm.boot,
        trouble=[*trouble, *unfetched],
    )
