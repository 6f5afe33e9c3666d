"""Worker processes with POV-Ray: killed, drained, stopped; the test plays the server."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import OpenImageIO
import psutil
import pytest
from processes import command_of, has_ended
from waiting import wait_for

from distren.amqp import topology
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.domain.job import Blob
from distren.renderers.registry import named
from distren.server.blobs import BlobService
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Failed, Progress, Render, Report, Started
from distren.wire.jobs import Manifest, ManifestFile

LIMIT = 60.0
M = TypeVar("M", bound=Message)
SPHERE = """#version 3.7;
global_settings { assumed_gamma 1 }
camera { location -5*z look_at 0 }
light_source { <-9, 9, -9> rgb 1 }
sphere { x*clock, 1 pigment { rgb 1 } }
"""
LONG = SPHERE.replace("rgb 1 }", "rgb 1 area_light 4*x 4*y 90 90 }", 1) + "plane { z, 1 pigment { rgb 1 } }"
SLOW = SPHERE + "\n#for (I, 1, 2000000000) #local A = sqrt(I); #end\n"


class Desk:
    """The server's side of a virtual host, and worker processes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        version = named("povray").probe(None).version
        assert version is not None, "POV-Ray is not installed"
        self.queue = topology.class_queue_name("default", {"povray": version})
        self.store = BlobStore(folder / "server", durable=False)
        self.heard: queue.Queue[Message] = queue.Queue()
        queues = (*topology.SERVER_QUEUES, topology.frames_queue(self.queue))
        self.link = Link(url, name="test server", exchanges=topology.EXCHANGES, queues=queues)
        self.link.start()
        for name in (topology.RESULTS, topology.REPORTS):
            self.link.consume(Consumer(queue=name, tag=name, on_delivery=self._hear, automatic=True))
        self.blobs = BlobService(url, "alpha", self.store)
        self.blobs.start()
        self.processes: list[subprocess.Popen[bytes]] = []

    def _hear(self, delivery: Delivery) -> None:
        self.heard.put(decode(delivery.body))

    def worker(self, name: str, *flags: str, **settings: str) -> subprocess.Popen[bytes]:
        """A worker process that takes frames."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("DISTREN_")}
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "distren.cli.worker",
                "--name",
                name,
                "--renderers",
                "povray",
                "--slots",
                "1",
                *flags,
            ],
            env={**clean, "DISTREN_BROKER": self.url, "DISTREN_DATA": str(self.folder), **settings},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        self.next(Report, lambda report: report.worker == name and report.room > 0)
        return process

    def render(self, scene: str, frames: range) -> None:
        manifest = self.seed({"scene.pov": scene.encode(), "distrenjob.xml": b"<job/>"})
        for frame in frames:
            message = Render(
                job=1,
                frame=frame,
                issue=1,
                renderer="povray",
                manifest=fields.Blob.of(manifest),
                first=frames[0],
                last=frames[-1],
                width=64,
                height=48,
                settings={"scene": "scene.pov"},
                time_limit=300.0,
            )
            self.link.publish(Outgoing(exchange=topology.FRAMES, key=self.queue, body=message.encode()))

    def seed(self, files: dict[str, bytes]) -> Blob:
        blobs = {path: self.store.put(data) for path, data in files.items()}
        listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
        return self.store.put(Manifest(files=listed).encode())

    def next(self, kind: type[M], accept: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of this kind; others are dropped, and a failed frame fails the test."""
        deadline = time.monotonic() + LIMIT
        while True:
            message = self.heard.get(timeout=max(deadline - time.monotonic(), 0.01))
            if isinstance(message, kind) and accept(message):
                return message
            assert not isinstance(message, Failed), message.reason

    def waiting(self) -> int:
        counts: queue.Queue[int] = queue.Queue()
        self.link.count(self.queue, counts.put)
        return counts.get(timeout=LIMIT)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(LIMIT)
        self.blobs.stop()
        self.link.close()


def renders_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What runs below a worker, but for what starts its programs."""
    return [one for one in psutil.Process(process.pid).children(recursive=True) if "keeper.py" not in command_of(one)]


@pytest.fixture
def desk(vhost_url: str, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(vhost_url, tmp_path)
    yield made
    made.close()


def test_frames_of_a_worker_that_is_killed_are_rendered_by_another(desk: Desk) -> None:
    killed = desk.worker("first")
    desk.render(SPHERE, range(1, 9))
    desk.next(Started)
    orphans = renders_of(killed)
    killed.kill()
    killed.wait(LIMIT)
    desk.worker("second", "--slots", "2")
    done: Counter[int] = Counter()
    while set(done) != set(range(1, 9)):
        done[desk.next(Completed).frame] += 1
    wait_for(lambda: all(has_ended(orphan) for orphan in orphans))


def test_the_first_interrupt_finishes_the_frame_in_hand(desk: Desk) -> None:
    process = desk.worker("drained")
    desk.render(SPHERE, range(1, 101))
    desk.next(Started)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 0
    assert desk.next(Completed)
    assert 0 < desk.waiting() < 100


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_worker_that_must_go_gives_its_frame_back_and_is_gone_within_seconds(
    desk: Desk, signals: list[signal.Signals]
) -> None:
    process = desk.worker("stopped")
    desk.render(SLOW, range(1, 2))
    desk.next(Started)
    wait_for(lambda: bool(renders_of(process)))
    renders, asked = renders_of(process), time.monotonic()
    process.send_signal(signals[0])
    for number in signals[1:]:
        desk.next(Report, lambda report: report.state == "draining")  # two signals at once are one
        process.send_signal(number)
    assert process.wait(LIMIT) == 0
    assert time.monotonic() - asked < 20  # 2.5 s on a machine that has nothing else to do
    wait_for(lambda: desk.waiting() == 1)
    wait_for(lambda: all(has_ended(render) for render in renders))
    assert list((desk.folder / "worker" / "attempts").iterdir()) == []


def log_of(done: Completed) -> str:
    return zlib.decompress(done.log).decode()


def test_a_long_frame_is_gone_on_with_on_the_same_host(desk: Desk, tmp_path: Path) -> None:
    killed = desk.worker("first")
    desk.render(LONG, range(1, 2))
    kept = desk.folder / "worker" / "checkpoints"
    desk.next(Progress, lambda told: told.percent >= 25)
    wait_for(lambda: kept.is_dir() and any(path.stat().st_size for path in kept.iterdir()))
    killed.kill()
    killed.wait(LIMIT)
    desk.worker("second")
    done = desk.next(Completed)
    assert "Continued trace......On" in log_of(done)
    assert list(kept.iterdir()) == []
    assert done.tarball is not None
    with tarfile.open(fileobj=io.BytesIO(done.tarball)) as tarball:
        tarball.extract("scene.png", tmp_path / "farm")
    (tmp_path / "scene.pov").write_text(LONG)
    by_hand = ("povray", "+Iscene.pov", "+Ohand.png", "+W64", "+H48", "+WT1", "-D")
    subprocess.run(by_hand, cwd=tmp_path, check=True, capture_output=True, timeout=LIMIT)
    ours, theirs = (OpenImageIO.ImageBuf(str(path)) for path in (tmp_path / "farm/scene.png", tmp_path / "hand.png"))
    assert (ours.get_pixels() == theirs.get_pixels()).all()


def test_a_povray_that_fails_by_itself_is_started_again_at_once(desk: Desk, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "povray"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) exec povray --version ;; esac\n'
        'if [ -e tried ]; then exec povray "$@"; fi\n'
        "touch tried; echo Timed out waiting for worker thread startup; exit 1\n"
    )
    program.chmod(0o755)
    desk.worker("stubborn", DISTREN_POVRAY=str(program))
    desk.render(SPHERE, range(1, 2))
    assert desk.next(Completed).frame == 1
