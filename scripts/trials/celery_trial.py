"""The same schedule against Celery: the faults that it has something for, on the same kind of broker and renderer."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trials import renderlog
from trials.course import Course
from trials.disturber import Disturber
from trials.farm import Size, TrialFarm, worker_name
from trials.schedule import Kind
from trials.supervised import Supervised

Settings = Literal["defaults", "late"]
MEETS = frozenset(
    kind for kind in Kind if kind.endswith(("worker", "broker", "client")) and not kind.startswith("fill")
)
"""It has no server, and keeps nothing on a worker's disk."""
_SETTLED = 90.0
"""seconds without any rendering, record or fault after which nothing more is to be expected: RabbitMQ gives back
at once what a lost connection held, and its workers wait up to half a minute before they connect again"""


@dataclass(frozen=True, kw_only=True)
class CeleryVerdict:
    """What came of it: `doubled` frames were rendered to their end, and recorded, more than once."""

    frames: int
    faults: int
    lost: int
    doubled: int
    wasted: int
    seconds: float


class CeleryFarm(TrialFarm):
    """Workers of Celery with one process each, in place of DistRen's."""

    def __init__(self, folder: Path, size: Size, settings: Settings) -> None:
        super().__init__(folder, size)
        self.database = folder / "celery.db"
        self._settings = settings

    def _start(self, stack: ExitStack) -> None:
        for number in range(1, self.size.workers + 1):
            name = worker_name(number)
            flags = ["--concurrency", "1", "--loglevel", "WARNING", "--hostname", f"{name}@trial"]
            command = [sys.executable, "-m", "celery", "-A", "trials.celery_tasks", "worker", *flags]
            environment = self.environment(name)
            self.workers.append(Supervised(name, command, environment=environment, log=self.folder / f"{name}.log"))
        stack.callback(self._close)
        for service in self.workers:
            service.start()

    @property
    def services(self) -> list[Supervised]:
        return list(self.workers)

    def wait_ready(self, workers: int | None = None) -> None:
        """Its workers take tasks whenever they are up; nothing is to be waited for."""

    def environment(self, name: str) -> dict[str, str]:
        """What a worker, or the producer, sees."""
        return self._environment(name) | {
            "TRIAL_CELERY": self._settings,
            "TRIAL_DATABASE": str(self.database),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }


def run(folder: Path, size: Size, course: Course, settings: Settings, say: Callable[[str], None]) -> CeleryVerdict:
    """Lead Celery through `course`, its faults without those that Celery has nothing for."""
    began = time.monotonic()
    plan = [fault for fault in course.plan if fault.kind in MEETS]
    farm = CeleryFarm(folder, replace(size, disks=False), settings)
    with farm.running():
        begun = renderlog.Counter(farm.render_log).begun
        disturbing = Disturber(farm, plan, begun=begun, say=say)
        disturbing.start()
        with _producer(farm, course) as producer:
            _wait_settled(farm, producer, disturbing, say)
        disturbing.end()
        disturbing.join(120)
        return _judge(farm, course, disturbing.struck, time.monotonic() - began)


@contextmanager
def _producer(farm: CeleryFarm, course: Course) -> Iterator[subprocess.Popen[bytes]]:
    """A client of its own process that sends a task for each frame, and writes down what was accepted."""
    jobs = farm.folder / "jobs"
    jobs.mkdir()
    (jobs / "scene.trial").write_text(json.dumps({"token": "celery", "seconds": course.seconds}), "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "trials.celery_producer", str(jobs), str(course.frames)],
        env=farm.environment("client"),
        stdin=subprocess.DEVNULL,
        stdout=(farm.folder / "producer.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _wait_settled(
    farm: CeleryFarm, producer: subprocess.Popen[bytes], disturbing: Disturber, say: Callable[[str], None]
) -> None:
    """Until all tasks are accepted, and either all faults are over and each is recorded, or nothing moves any more.

    Faults are set to the count of begun frames: where these are lost, the rest of the faults do not come.
    """
    begun = renderlog.Counter(farm.render_log).begun
    last: object = None
    moved, told = time.monotonic(), time.monotonic()
    while time.monotonic() - moved < _SETTLED:
        now = begun(), len(_recorded(farm.database)), len(disturbing.struck), len(_accepted(farm))
        if now != last:
            last, moved = now, time.monotonic()
        elif producer.poll() is not None and not disturbing.is_alive() and not _missing(farm):
            return
        if time.monotonic() - told > 15:
            told = time.monotonic()
            say(f"celery: {now[1]} recorded, {now[0]} begun, {now[2]} faults over")
        time.sleep(0.5)


def _accepted(farm: CeleryFarm) -> dict[str, int]:
    """The frames of the tasks that Celery has accepted."""
    log = farm.folder / "jobs" / "submit.log"
    lines = log.read_text("utf-8").splitlines(keepends=True) if log.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return {entry["task"]: entry["frame"] for entry in entries}


def _missing(farm: CeleryFarm) -> set[int]:
    """The frames that were accepted, and are not recorded."""
    accepted = _accepted(farm)
    return set(accepted.values()) - {accepted[task] for task in _recorded(farm.database) if task in accepted}


def _judge(farm: CeleryFarm, course: Course, struck: list[Any], seconds: float) -> CeleryVerdict:
    accepted = _accepted(farm)
    tries = renderlog.by_frame(renderlog.read(farm.render_log))
    return CeleryVerdict(
        frames=len(set(accepted.values())),
        faults=len(struck),
        lost=len(_missing(farm)),
        doubled=sum(sum(one.ended is not None for one in several) > 1 for several in tries.values()),
        wasted=sum(len(several) - 1 for several in tries.values()),
        seconds=seconds,
    )


def _recorded(database: Path) -> set[str]:
    """The tasks whose success is recorded."""
    if not database.exists():
        return set()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            rows = connection.execute("select task_id from celery_taskmeta where status = 'SUCCESS'")
            return {str(row[0]) for row in rows}
        except sqlite3.OperationalError:  # the table is not made yet, or the writer has the file
            return set()
