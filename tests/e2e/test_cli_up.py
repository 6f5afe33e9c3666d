"""`distren up`: a farm from one command, that restarts what dies and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from farm_processes import FarmProcesses, command_line
from processes import command_of, has_ended
from waiting import wait_for

from distren import Farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WORKER = ("--slots", "2", "--name", "render-1", "--renderers", "povray")
UP_WITHIN = 120.0
DOWN_WITHIN = 60.0
SLOW = """
#version 3.7;
global_settings { assumed_gamma 1.0 }
camera { location <0, 1, -4> look_at <0, 0.5, 0> }
light_source { <2, 4, -3> rgb 1 area_light x, z, 9, 9 }
sphere { <clock, 0.5, 0>, 0.5 pigment { rgb <1, 0.4, 0.1> } finish { reflection 0.3 } }
plane { y, 0 pigment { checker rgb 0.2 rgb 0.8 } }
"""


class Up:
    """One `distren up --json`, with what it has printed."""

    def __init__(self, data: Path, *flags: str) -> None:
        self.data = data
        self.errors = data.with_suffix(".errors")
        self.processes = FarmProcesses("", data)
        environment = self.processes.environment()
        del environment["DISTREN_BROKER"]
        self.environment = environment
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                command_line("main", ["up", "--json", *WORKER, *flags]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        record: dict[str, Any] = json.loads(line)
        return record

    def said(self) -> str:
        return self.errors.read_text()

    def farm(self) -> Farm:
        return Farm(data=self.data)

    def distren(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line("main", arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DOWN_WITHIN,
            check=False,
        )

    def tree(self) -> list[psutil.Process]:
        """The process and all below it; RabbitMQ's are below `run-node.sh`, which is."""
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def child(self, words: str) -> psutil.Process:
        found = [one for one in psutil.Process(self.process.pid).children() if words in command_of(one)]
        assert len(found) == 1, self.said()
        return found[0]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.communicate(timeout=DOWN_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    one = Up(tmp_path / "data")
    try:
        yield one
    finally:
        one.end()


def nothing_is_left(tree: list[psutil.Process]) -> None:
    wait_for(lambda: all(has_ended(process) for process in tree), DOWN_WITHIN)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "slow.pov"
    path.write_text(SLOW)
    return path


def test_a_farm_is_ready_with_one_command_and_down_ends_all_of_it(up: Up) -> None:
    record = up.ready()
    assert record["pid"] == up.process.pid
    assert record["worker"] == "render-1"
    assert record["management"].startswith("http://127.0.0.1:")
    with up.farm() as farm:
        assert farm.server == record["server"]
    again = up.distren("up")
    assert again.returncode == 8
    assert f"already running (pid {up.process.pid})" in again.stderr
    tree = up.tree()
    assert len(tree) >= 5
    down = up.distren("down", "--json")
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout) == {"ended": up.process.pid}
    assert up.process.wait(DOWN_WITHIN) == 0
    nothing_is_left(tree)
    assert up.distren("down").returncode == 4


def test_every_part_that_is_killed_comes_back_and_nothing_survives_a_killed_up(up: Up, scene: Path) -> None:
    up.ready()
    with up.farm() as farm:
        job = farm.submit(scene, frames="1-24", width=160, height=120)
        milestones = iter(["distren.cli.worker", "distren.cli.server", "run-node.sh"])
        for info in job.watch(timeout=200):
            if info.counts.get("done", 0) >= 4 and (part := next(milestones, None)) is not None:
                victim = up.child(part)
                os.killpg(victim.pid, signal.SIGKILL)
                wait_for(lambda part=part: f"the {part_name(part)} runs again" in up.said(), UP_WITHIN)
        assert info.counts == {"done": 24}
    assert next(milestones, None) is None
    tree = up.tree()
    up.process.kill()
    nothing_is_left(tree)


def part_name(part: str) -> str:
    return {"distren.cli.worker": "worker", "distren.cli.server": "server"}.get(part, "broker")


def test_an_interrupted_farm_finishes_what_is_in_hand_and_goes_on_later_also_without_the_data_of_its_broker(
    up: Up, scene: Path
) -> None:
    name = up.ready()["server"]
    with up.farm() as farm:
        job = farm.submit(scene, frames="1-12", width=160, height=120)
        for info in job.watch():
            if info.counts.get("rendering"):
                break
        tree = up.tree()
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(DOWN_WITHIN) == 0
    nothing_is_left(tree)
    assert "ended (" not in up.said()
    log = (up.data / "logs" / "worker.log").read_text()
    assert "finishing the frames in hand" in log
    assert "Traceback" not in log
    renamed = Up(up.data, "--server", "beta")
    assert renamed.process.wait(UP_WITHIN) == 8
    renamed.end()
    assert f"distren: the server does not start: this database belongs to the server '{name}'" in renamed.said()
    shutil.rmtree(up.data / "broker")
    later = Up(up.data)
    try:
        later.ready()
        with later.farm() as farm:
            assert farm.job(job.id).wait(100).counts == {"done": 12}
        assert "the broker has lost its data" in (up.data / "logs" / "server.log").read_text()
    finally:
        later.end()
