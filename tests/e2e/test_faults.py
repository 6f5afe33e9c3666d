"""A part of the farm dies in mid-animation, and every frame still arrives, with the right pixels."""

from __future__ import annotations

import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import brokers
import numpy
import OpenImageIO as oiio  # noqa: N813
import pytest
from farm_processes import FarmProcesses
from waiting import wait_for

from distren.broker.management import Management
from distren.broker.private import PrivateBroker
from distren.client.farm import Farm
from distren.client.job import Job

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMES = 16
SIZE = (160, 90)
PATIENCE = 150.0


@pytest.fixture(scope="module")
def own_broker(broker_kind: brokers.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker that a test may stop, and starts again."""
    made = brokers.private(broker_kind, tmp_path_factory.mktemp("own") / "broker")
    made.start()
    yield made
    made.erase()


@pytest.fixture
def own_farm(own_broker: PrivateBroker, tmp_path: Path) -> Iterator[OwnFarm]:
    """A farm at that broker."""
    known, vhost = own_broker.wait_ready(), secrets.token_hex(4)
    with Management.of(known) as management:
        management.create_vhost(vhost)
    made = OwnFarm(own_broker, FarmProcesses(f"{known.amqp_url}{vhost}", tmp_path / "farm"))
    try:
        done = made.processes.distren("db", "upgrade")
        assert done.code == 0, done.err
        made.processes.start("server", "--server", "alpha")
        made.start_worker("render-1")
        made.processes.await_ready()
        yield made
    finally:
        made.processes.end()


class OwnFarm:
    def __init__(self, broker: PrivateBroker, processes: FarmProcesses) -> None:
        self.broker, self.processes = broker, processes

    def start_worker(self, name: str) -> None:
        self.processes.start("worker", "--slots", "2", "--name", name, "--renderers", "povray", name=name)

    def render(self, folder: Path, disturb: Callable[[], None]) -> None:
        """Submit an animation, disturb the farm after its first frames, and fetch what comes of it."""
        with self.processes.farm() as farm:
            job = submit(farm)
            wait_for(lambda: done(job) >= 2, PATIENCE)
            disturb()
            job.wait(timeout=PATIENCE)
            assert job.info().counts == {"done": FRAMES}
            job.fetch(folder)


def submit(farm: Farm) -> Job:
    return farm.submit(EXAMPLES / "quick/quick.pov", frames=f"1-{FRAMES}", width=SIZE[0], height=SIZE[1])


def done(job: Job) -> int:
    return job.info().counts.get("done", 0)


def pixels(file: Path) -> numpy.ndarray:
    image = oiio.ImageBuf(str(file))
    assert not image.has_error, image.geterror()
    return image.get_pixels(oiio.FLOAT)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same animation, rendered by POV-Ray's own loop."""
    folder = tmp_path_factory.mktemp("by-hand")
    width, height = SIZE
    argv = ["povray", "+Iquick.pov", "-D", "+WT1", "+FN", f"+W{width}", f"+H{height}", "+KFI1", f"+KFF{FRAMES}"]
    subprocess.run([*argv, f"+O{folder}/"], cwd=EXAMPLES / "quick", check=True, capture_output=True)
    return folder


def assert_same(fetched: Path, expected: Path) -> None:
    names = sorted(file.name for file in expected.glob("*.png"))
    assert len(names) == FRAMES
    assert sorted(file.name for file in fetched.glob("**/*.png")) == names
    for name in names:
        assert numpy.array_equal(pixels(fetched / name), pixels(expected / name)), name


def test_a_killed_worker_loses_no_frame(own_farm: OwnFarm, by_hand: Path, tmp_path: Path) -> None:
    own_farm.start_worker("render-2")
    own_farm.processes.await_ready(workers=2)
    own_farm.render(tmp_path / "out", lambda: _kill(own_farm.processes, "render-1"))
    assert_same(tmp_path / "out", by_hand)


def _kill(processes: FarmProcesses, name: str) -> None:
    processes.stop(name, signal.SIGKILL)


def test_a_restarted_broker_loses_no_frame(own_farm: OwnFarm, by_hand: Path, tmp_path: Path) -> None:
    def restart() -> None:
        own_farm.broker.stop()
        own_farm.broker.start()

    own_farm.render(tmp_path / "out", restart)
    assert_same(tmp_path / "out", by_hand)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_server_loses_no_frame(
    own_farm: OwnFarm, by_hand: Path, tmp_path: Path, number: signal.Signals
) -> None:
    def restart() -> None:
        own_farm.processes.stop("server", number)
        own_farm.processes.start("server", "--server", "alpha")

    own_farm.render(tmp_path / "out", restart)
    assert_same(tmp_path / "out", by_hand)


def test_a_client_that_waits_outlives_a_restart_of_everything(own_farm: OwnFarm, tmp_path: Path) -> None:
    """The job is waited for while broker, server and worker are all replaced under it."""
    processes = own_farm.processes
    with processes.farm() as farm:
        job = submit(farm)
        failed: list[BaseException] = []

        def wait() -> None:
            try:
                job.wait(timeout=PATIENCE)
            except BaseException as error:
                failed.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: done(job) >= 1, PATIENCE)
        processes.stop("render-1")
        processes.stop("server")
        own_farm.broker.stop()
        own_farm.broker.start()
        processes.start("server", "--server", "alpha")
        own_farm.start_worker("render-3")
        waiting.join(PATIENCE)
        assert not waiting.is_alive()
        assert failed == []
        assert job.info().counts == {"done": FRAMES}
