"""How a worker comes, works within its host, and goes; the test plays the server."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE, wait_for
from worker_farm import Missing, Shell, WorkerFarm

from distren.amqp import topology
from distren.amqp.link import Link
from distren.config import Settings
from distren.errors import Conflict, RendererUnavailable
from distren.wire.frames import Completed, Report, Started
from distren.worker import identity, keepers, lines, scratch
from distren.worker.agent import Worker


def test_a_worker_reports_what_it_holds(farm: WorkerFarm) -> None:
    worker = farm.worker()
    assert farm.next(Report).worker == worker.name
    farm.render(5, "sleep 60")
    started = farm.next(Started)
    report = farm.next(Report, lambda report: bool(report.held))
    assert (report.held, report.held_frames) == ([started.token], [(1, 5)])
    assert (report.slots, report.queue, report.state) == (1, farm.queue, "working")


def test_a_draining_worker_finishes_what_it_holds_and_leaves_the_rest(farm: WorkerFarm) -> None:
    worker = farm.worker()
    go = farm.folder / "go"
    farm.render(1, f"while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    farm.next(Started)
    worker.drain()
    farm.next(Report, lambda report: report.state == "draining")
    farm.render(2, "echo x >out")
    go.touch()
    assert farm.next(Completed).frame == 1
    wait_for(lambda: farm.has_ended(worker))
    assert farm.next(Report, lambda report: report.state == "ended").held == []
    assert farm.waiting() == 1


def test_a_worker_that_gives_back_stops_its_renders_and_leaves(farm: WorkerFarm) -> None:
    worker = farm.worker(slots=2)
    for frame in (1, 2):
        farm.render(frame, "sleep 1000", time_limit=1000.0)
        farm.next(Started)
    worker.give_back()
    wait_for(lambda: farm.has_ended(worker))
    wait_for(lambda: farm.waiting() == 2)
    assert list((farm.folder / "worker" / "attempts").iterdir()) == []


def test_a_second_worker_of_the_same_name_is_refused(
    farm: WorkerFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_NOTICED_WITHIN", 0.5)
    farm.worker(name="fast")
    elsewhere = Worker(
        Settings(data=tmp_path / "other host"), broker_url=farm.url, name="fast", slots=1, adapters={"shell": Shell()}
    )
    with pytest.raises(Conflict, match="'fast' is connected to this broker"):
        elsewhere.run()


def test_a_worker_that_was_killed_is_started_again_before_the_broker_has_noticed(
    farm: WorkerFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = Link(farm.url, name="the last one", queues=[topology.worker_queue("fast")])
    last.start()
    claim, claims = identity.claim, []

    def noticed_meanwhile(*of: Any, **more: Any) -> identity.Identity:
        claims.append(of)
        if len(claims) == 2:
            last.close()
        return claim(*of, **more)

    monkeypatch.setattr(lines, "_NOTICED_WITHIN", PATIENCE)
    monkeypatch.setattr(identity, "claim", noticed_meanwhile)
    assert farm.worker(name="fast").name == "fast"
    assert len(claims) > 1


def test_a_name_that_was_not_asked_for_gives_way_to_another(farm: WorkerFarm, tmp_path: Path) -> None:
    first, second = farm.worker(), farm.worker()
    assert first.name != second.name


def test_workers_that_start_at_once_do_not_disturb_each_other(
    farm: WorkerFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that starts removes what workers that were killed left behind: here, while the next tries its sandbox."""
    take, cache = keepers.take, farm.folder / "worker"
    cleaned = []

    def others_start_now() -> keepers.Keeper:
        scratch.clean(cache / "attempts", cache / "names")
        cleaned.append(True)
        return take()

    farm.worker()
    monkeypatch.setattr(keepers, "take", others_start_now)
    farm.worker()
    assert cleaned


def test_a_worker_that_can_render_nothing_says_what_to_install(farm: WorkerFarm) -> None:
    worker = Worker(Settings(data=farm.folder), broker_url=farm.url, adapters={"missing": Missing()})
    with pytest.raises(RendererUnavailable, match="install the package 'missing'"):
        worker.run()


def test_a_worker_with_a_full_disk_takes_nothing_until_there_is_room(farm: WorkerFarm) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # a disk that only this test fills
        farm.data = Path(name)
        free = shutil.disk_usage(farm.data).free
        large = min(free // 4, 256 * 2**20)
        farm.worker(free_space=free - large)
        farm.next(Report, lambda report: report.state == "working")
        ballast = farm.data / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * large)
        assert farm.next(Report, lambda report: report.state == "disk full").room == 0
        farm.render(1, "echo x >out")
        assert not [message for message in farm.kept if isinstance(message, Started)]
        assert farm.waiting() == 1
        ballast.unlink()
        assert farm.next(Completed).frame == 1
        farm.next(Report, lambda report: report.state == "working")
        farm.workers[0][0].give_back()
        wait_for(lambda: farm.has_ended(farm.workers[0][0]))
