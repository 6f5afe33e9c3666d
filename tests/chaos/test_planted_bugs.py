"""The checker sees what it is there to see: bugs planted in a real server and worker, and none where there is none.

Each bug meets the one accident that shows it. Without the bug, all the accidents together do no harm.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import brokers
import pytest
from trials import checker, trial
from trials.checker import Verdict
from trials.course import Course
from trials.disturber import Struck
from trials.farm import Size, TrialFarm
from trials.schedule import Fault, Kind

from distren.broker.management import Management

LAUNCHER = (sys.executable, str(Path(__file__).with_name("planted.py")))
FRAMES = 8
AT_ONCE = 3
"""farms that run side by side"""
CUT = Fault(number=1, kind=Kind.CUT_WORKER, at=1, delay=0.1, seconds=3.0, worker=1)
"""worker 1 is cut off while it renders: the frame goes to worker 2 as well, and both send a result"""


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A bug and its accident: what is planted in the server and in the workers, and the words of the verdict."""

    server: str = ""
    worker: str = ""
    faults: tuple[Fault, ...] = ()
    seen: str


BUGS = {
    "acknowledge before commit": Bug(server="acknowledges-before-commit,dies-before-commit", seen="lost"),
    "no outbox": Bug(server="no-outbox,dies-before-publish", seen="lost"),
    "no dedup": Bug(server="no-dedup", faults=(CUT,), seen="recorded twice"),
    "completion published without confirm": Bug(worker="no-confirm,dies-before-confirm", seen="lost"),
    "result accepted with a wrong digest": Bug(server="any-digest", worker="damages-a-result", seen="missing"),
}
NO_BUG = Bug(
    server="dies-before-commit,dies-before-publish",
    worker="dies-before-confirm,damages-a-result",
    faults=(CUT,),
    seen="",
)
STALL, HANGS = 90.0, 10.0
"""seconds until a farm that does not move is given up: one that should end, and one that hangs by its bug"""


def lead(bug: Bug, folder: Path, broker_url: str) -> Verdict:
    """A small farm with this bug, through the accidents, and what the checker says."""
    marks = folder / "marks"
    marks.mkdir(parents=True)
    size = Size(
        workers=2 if bug.faults else 1,
        frames=FRAMES,
        server_prefix=(*LAUNCHER, bug.server, "--"),
        worker_prefix=(*LAUNCHER, bug.worker, "--"),
        environment={"TRIAL_MARKS": str(marks)},
    )
    course = Course(
        seed=1,
        frames=FRAMES,
        sizes=[FRAMES],
        plan=list(bug.faults),
        seconds=(0.5, 1.0) if bug.faults else (0.05, 0.2),
        stall=HANGS if bug.seen == "lost" else STALL,
    )
    farm = TrialFarm(folder, size, broker_url=broker_url)
    with farm.running():
        evidence = trial.gather(farm, course, lambda text: None)
    return checker.judge(replace(evidence, struck=[*evidence.struck, *accidents(marks)]))


def accidents(marks: Path) -> list[Struck]:
    """What befell processes from within, as faults: a worker's frames were in its way."""
    found = []
    for path in sorted(marks.iterdir()):
        mark = json.loads(path.read_text("utf-8"))
        worker = None if mark["process"] == "server" else mark["process"]
        kind = Kind.KILL_SERVER if worker is None else Kind.CUT_WORKER
        fault = Fault(number=0, kind=kind, at=0, delay=0.0)
        found.append(Struck(fault=fault, began=mark["at"], ended=mark["at"] + 1.0, worker=worker))
    return found


@pytest.fixture(scope="module")
def verdicts(
    broker: brokers.Broker, management: Management, trial_renderer: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Verdict]]]:
    """The verdicts of all farms, which run at the same time: they mostly wait."""
    folder, vhosts, coming = tmp_path_factory.mktemp("planted"), [], {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for name, bug in {"none": NO_BUG, **BUGS}.items():
            vhosts.append(f"planted-{secrets.token_hex(6)}")
            management.create_vhost(vhosts[-1])
            coming[name] = threads.submit(lead, bug, folder / name.replace(" ", "-"), broker.url_of(vhosts[-1]))
        yield coming
    for vhost in vhosts:
        management.delete_vhost(vhost)


@pytest.mark.parametrize("name", BUGS)
def test_the_checker_sees_a_planted_bug(name: str, verdicts: dict[str, Future[Verdict]]) -> None:
    verdict = verdicts[name].result()
    assert any(BUGS[name].seen in failure for failure in verdict.failures), verdict


def test_without_a_bug_the_same_accidents_do_no_harm(verdicts: dict[str, Future[Verdict]]) -> None:
    verdict = verdicts["none"].result()
    serious = [failure for failure in verdict.failures if "more than 5%" not in failure]
    assert serious == [], verdict  # a few frames in vain are much of so small a job
    assert verdict.faults == 5, "every accident has happened"
