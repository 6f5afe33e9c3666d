"""One trial: jobs handed in while faults strike, then everything is asked for, fetched and judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distren.client.farm import Farm
from trials import checker, recordings, renderlog, submitter
from trials.checker import Evidence, Verdict
from trials.course import Course, Say, Watch, lead
from trials.disturber import Disturber
from trials.farm import Size, TrialFarm
from trials.recordings import Listener, Told
from trials.submitter import Promise, Submitter


def run(folder: Path, size: Size, course: Course, say: Say) -> tuple[Verdict, TrialFarm]:
    """Make a farm in `folder`, lead it through `course`, and judge it. What is left in `folder` are its logs."""
    farm = TrialFarm(folder, size)
    with farm.running():
        say(f"the farm is up after {farm.boot:.1f} s")
        evidence = gather(farm, course, say)
    return checker.judge(evidence), farm


def gather(farm: TrialFarm, course: Course, say: Say) -> Evidence:
    """Lead a running farm through `course`, and take down what came of it."""
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
    listener = Listener(farm.direct_url)
    try:
        trouble = lead(submitting, disturbing, _Watch(farm, submitting), course, say)
        farm.wait_ready(workers=0)  # the last fault may have left a broker that no server has found yet
        with farm.client(direct=True) as client:
            return _evidence(farm, client, listener.told, submitting, disturbing, trouble)
    finally:
        listener.close()


class _Watch(Watch[Promise]):
    """Asks on a connection of its own."""

    def __init__(self, farm: TrialFarm, submitting: Submitter) -> None:
        super().__init__(submitting, renderlog.Counter(farm.render_log).begun)
        self._farm = farm

    def look(self, promises: Sequence[Promise]) -> None:
        if promises:
            with self._farm.client(direct=True) as client:
                for promise in promises:
                    self.note(client, promise)


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
