"""A worker on a real broker; the tests play the server, and the renderer is a shell."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from pydantic import ByteSize

from distren.amqp import topology
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.broker.management import Management
from distren.config import Settings
from distren.domain.job import Blob
from distren.errors import Conflict, RendererUnavailable
from distren.renderers.protocol import Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble
from distren.server.blobs import BlobService
from distren.storage.blobstore import BlobStore
from distren.tarballs.reader import read_tarball
from distren.tarballs.writer import Member, write_tarball
from distren.wire import fields
from distren.wire.codec import Message, decode
from distren.wire.frames import INLINE, Completed, Failed, Render, Report, Started, Stop
from distren.wire.frames import Progress as FrameProgress
from distren.wire.jobs import Manifest, ManifestFile
from distren.worker import outputs
from distren.worker.agent import Worker
from distren.worker.process import Outcome

LIMIT = 30.0
M = TypeVar("M", bound=Message)


class Shell:
    """A renderer whose frames are shell scripts: setting `script`; the frame's number is $1, the inputs are $2."""

    name = "shell"

    def probe(self, program: str | None) -> Capability:
        return Capability(version="1")

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".sh"

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        return Scene(root=path.parent, files=(path,), settings={})

    def check(self, settings: Mapping[str, str]) -> None:
        pass

    def command(self, task: Task, program: str | None) -> Command:
        script = task.settings["script"]
        argv = ("/bin/sh", "-c", script, "sh", str(task.frame), str(task.inputs))
        return Command(argv=argv, outputs=(ExpectedFile(name="out"),))

    def read_line(self, line: str) -> Progress | Trouble | None:
        if line.startswith("percent "):
            return Progress(float(line.split()[1]))
        return Trouble(line, permanent=True) if line.startswith("bad scene") else None


class Missing(Shell):
    name = "missing"

    def probe(self, program: str | None) -> Capability:
        return Capability(missing="install the package 'missing'")


class Farm:
    """The server's side of a virtual host, and the workers that a test starts."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = self.data = folder
        self.store = BlobStore(folder / "server", durable=False)
        self.heard: queue.Queue[Message] = queue.Queue()
        self.kept: list[Message] = []
        self.link = Link(
            url,
            name="test server",
            exchanges=topology.EXCHANGES,
            queues=(*topology.SERVER_QUEUES, topology.frames_queue(self.queue)),
        )
        self.link.start()
        for name in (topology.RESULTS, topology.REPORTS):
            self.link.consume(Consumer(queue=name, tag=name, on_delivery=self._hear, automatic=True))
        self.blobs = BlobService(url, "alpha", self.store)
        self.blobs.start()
        self.manifest = self.seed({"distrenjob.xml": b"<job/>", "input": b"of the job"})
        self.workers: list[tuple[Worker, threading.Thread, list[BaseException]]] = []

    queue = topology.class_queue_name("default", {"shell": "1"})

    def _hear(self, delivery: Delivery) -> None:
        self.heard.put(decode(delivery.body))

    def seed(self, files: Mapping[str, bytes]) -> Blob:
        blobs = {path: self.store.put(data) for path, data in files.items()}
        listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
        return self.store.put(Manifest(files=listed).encode())

    def worker(self, *, sandbox: Literal["on", "off"] = "on", free_space: int = 0, **more: Any) -> Worker:
        """A worker that takes frames, in a thread; its renders may read the test's folder."""
        arguments: dict[str, Any] = {"slots": 1, "adapters": {"shell": Shell()}, "broker_url": self.url} | more
        settings = Settings(
            data=self.data, sandbox=sandbox, sandbox_shared=(self.folder,), free_space=ByteSize(free_space)
        )
        made = Worker(settings, **arguments)
        errors: list[BaseException] = []

        def run() -> None:
            try:
                made.run()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        self.workers.append((made, thread, errors))
        until(lambda: made.ready.is_set() or not thread.is_alive())
        assert not errors, errors
        return made

    def render(self, frame: int, script: str, *, issue: int = 1, job: int = 1, **more: Any) -> Render:
        given: dict[str, Any] = {"time_limit": 60.0, "manifest": fields.Blob.of(self.manifest)} | more
        message = Render(
            job=job, frame=frame, issue=issue, renderer="shell", first=1, last=9, settings={"script": script}, **given
        )
        self.link.publish_all(
            [Outgoing(exchange=topology.FRAMES, key=self.queue, body=message.encode(), type=message.type)], LIMIT
        )
        return message

    def tell(self, message: Message) -> None:
        self.link.publish(Outgoing(exchange=topology.CONTROL, key="", body=message.encode(), persistent=False))

    def next(self, kind: type[M], accept: Callable[[M], bool] = lambda message: True) -> M:
        """The next message of this kind, among all that workers say."""
        deadline = time.monotonic() + LIMIT
        position = 0
        while True:
            while position < len(self.kept):
                message = self.kept[position]
                if isinstance(message, kind) and accept(message):
                    del self.kept[position]
                    return message
                position += 1
            try:
                self.kept.append(self.heard.get(timeout=max(deadline - time.monotonic(), 0.01)))
            except queue.Empty:
                pytest.fail(f"no {kind.__name__} came; heard {self.kept}")

    def waiting(self) -> int:
        """How many frames wait in the queue of the class."""
        counts: queue.Queue[int] = queue.Queue()
        self.link.count(self.queue, counts.put)
        return counts.get(timeout=LIMIT)

    def has_ended(self, worker: Worker) -> bool:
        return not any(thread.is_alive() for one, thread, _ in self.workers if one is worker)

    def close(self) -> None:
        for worker, _, _ in self.workers:
            worker.give_back()
        for _, thread, _ in self.workers:
            thread.join(LIMIT)
            assert not thread.is_alive()
        self.blobs.stop()
        self.link.close()


def until(condition: Callable[[], bool], limit: float = LIMIT) -> None:
    """Wait for a condition that nothing announces."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def farm(vhost_url: str, tmp_path: Path) -> Iterator[Farm]:
    made = Farm(vhost_url, tmp_path)
    yield made
    made.close()


def test_a_frame_is_rendered_from_the_jobs_files_and_its_tarball_comes_with_the_event(farm: Farm) -> None:
    worker = farm.worker()
    farm.render(3, 'echo "frame $1" >out; cat "$2/input" >>out; echo a line')
    started, completed = farm.next(Started), farm.next(Completed)
    assert (completed.worker, completed.frame, completed.issue) == (worker.name, 3, 1)
    assert completed.token == started.token
    assert completed.tarball is not None
    tarball = farm.folder / "result.tar"
    tarball.write_bytes(completed.tarball)
    assert [(entry.path, entry.open().read()) for entry in read_tarball(tarball)] == [("out", b"frame 3\nof the job")]
    assert zlib.decompress(completed.log) == b"a line\n"


def test_a_frame_finds_the_results_that_it_needs_in_its_working_directory(farm: Farm) -> None:
    def result(text: bytes) -> tuple[str, int]:
        path = farm.folder / "needed.tar"
        with path.open("wb") as file:
            write_tarball(file, [Member(path="picture", source=text)])
        blob = farm.store.put(path.read_bytes())
        return blob.digest, blob.size

    farm.worker()
    needs = [(1, 3, *result(b"own ")), (5, 2, *result(b"other "))]
    farm.render(9, "cat needs/frame/3/picture needs/5/frame/2/picture >out", needs=needs)
    completed = farm.next(Completed)
    assert completed.tarball is not None
    tarball = farm.folder / "result.tar"
    tarball.write_bytes(completed.tarball)
    assert [(entry.path, entry.open().read()) for entry in read_tarball(tarball)] == [("out", b"own other ")]


def test_the_next_frame_renders_while_the_files_of_the_last_one_are_checked(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, check = farm.folder / "began", outputs.check

    def once_the_next_has_begun(command: Command, folder: Path, outcome: Outcome) -> tuple[str, ...]:
        if "waits" in command.argv[2]:
            until(began.exists)
        return check(command, folder, outcome)

    farm.worker(sandbox="off")
    farm.render(1, "echo >out")
    farm.next(Completed)  # frames are short, so more of them are held than there are slots
    monkeypatch.setattr(outputs, "check", once_the_next_has_begun)
    farm.render(2, "echo waits >out")
    farm.render(3, f"echo >out; echo >{began}")
    assert {farm.next(Completed).frame, farm.next(Completed).frame} == {2, 3}


def test_a_large_result_is_uploaded_before_it_is_reported(farm: Farm) -> None:
    farm.worker()
    farm.render(1, f"head -c {INLINE + 1} /dev/urandom >out")
    completed = farm.next(Completed)
    assert completed.tarball is None
    assert farm.store.has(completed.result.digest)
    assert completed.result.size > INLINE


def test_the_same_large_result_again_is_not_sent_again(farm: Farm) -> None:
    farm.worker()
    for issue in (1, 2):
        farm.render(1, f"head -c {INLINE + 1} /dev/zero >out", issue=issue)
        assert farm.next(Completed).issue == issue


def test_a_failed_frame_is_reported_with_its_reason_and_log(farm: Farm) -> None:
    farm.worker()
    farm.render(1, "echo bad scene, line 7; exit 1")
    failed = farm.next(Failed)
    assert failed.permanent
    assert "bad scene, line 7" in failed.reason
    assert zlib.decompress(failed.log) == b"bad scene, line 7\n"


def test_a_frame_that_produces_nothing_has_failed_though_the_program_says_otherwise(farm: Farm) -> None:
    farm.worker()
    farm.render(1, "exit 0")
    failed = farm.next(Failed)
    assert not failed.permanent
    assert "out" in failed.reason


def test_a_frame_over_its_time_limit_is_stopped(farm: Farm) -> None:
    farm.worker()
    farm.render(1, "sleep 60", time_limit=0.3)
    assert farm.next(Failed).reason == "rendered longer than its limit of 0.3 s"


def test_a_frame_over_another_limit_says_which_and_what_it_used(farm: Farm) -> None:
    farm.worker()
    farm.render(1, "exec sleep 60", silence_limit=0.3)
    farm.render(2, "while :; do head -c 1000000 /dev/zero >>big; done", output_limit=20_000_000)
    for _ in range(2):
        failed = farm.next(Failed)
        assert failed.reason.startswith("said nothing for 0.3 s" if failed.frame == 1 else "wrote ") or (
            "larger than its limit of 20 MB" in failed.reason
        )
        assert failed.memory > 100_000
        assert failed.processor > 0


def test_a_worker_with_a_full_disk_takes_nothing_until_there_is_room(farm: Farm) -> None:
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
        until(lambda: farm.has_ended(farm.workers[0][0]))


def test_the_inputs_of_the_next_frame_are_fetched_while_this_one_renders(farm: Farm) -> None:
    farm.worker()
    for frame in range(20):  # short frames, so that the worker takes some ahead
        farm.render(frame, "echo x >out")
    farm.next(Report, lambda report: report.room > 1)
    for _ in range(20):
        farm.next(Completed)
    go = farm.folder / "go"
    farm.render(30, f"while [ ! -e {go} ]; do sleep 0.02; done; echo x >out")
    farm.next(Started, lambda started: started.frame == 30)
    other = farm.seed({"distrenjob.xml": b"<job/>", "input": b"of the next job"})
    farm.render(1, 'cat "$2/input" >out', job=2, manifest=fields.Blob.of(other))
    until(lambda: (farm.data / "worker" / "inputs" / other.digest / "input").exists())
    assert not [message for message in farm.kept if isinstance(message, Completed)]
    go.touch()
    assert {farm.next(Completed).job for _ in range(2)} == {1, 2}


def test_a_missing_input_fails_the_frame_but_not_for_good(farm: Farm) -> None:
    farm.worker()
    farm.render(1, "echo x >out", manifest=fields.Blob(digest="0" * 64, size=5))
    assert not farm.next(Failed).permanent


def test_inputs_are_fetched_once_for_all_workers_and_frames_of_a_host(farm: Farm) -> None:
    for _ in range(2):
        farm.worker(slots=2)
    for frame in range(6):
        farm.render(frame, 'stat -c %i "$2/input" >out')
    results = {farm.next(Completed).result.digest for _ in range(6)}
    assert len(results) == 1


def test_progress_is_told_and_repeats_are_not(farm: Farm) -> None:
    farm.worker()
    script = "sleep 1.1; for percent in 1 2 3 4 5; do echo percent $percent; done; echo x >out"
    farm.render(1, script)
    farm.next(Completed)
    told = [message.percent for message in farm.kept if isinstance(message, FrameProgress)]
    assert told == [1.0]


def test_a_worker_reports_what_it_holds(farm: Farm) -> None:
    worker = farm.worker()
    assert farm.next(Report).worker == worker.name
    farm.render(5, "sleep 60")
    started = farm.next(Started)
    report = farm.next(Report, lambda report: bool(report.held))
    assert (report.held, report.held_frames) == ([started.token], [(1, 5)])
    assert (report.slots, report.queue, report.state) == (1, farm.queue, "working")


def test_a_draining_worker_finishes_what_it_holds_and_leaves_the_rest(farm: Farm) -> None:
    worker = farm.worker()
    go = farm.folder / "go"
    farm.render(1, f"while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    farm.next(Started)
    worker.drain()
    farm.next(Report, lambda report: report.state == "draining")
    farm.render(2, "echo x >out")
    go.touch()
    assert farm.next(Completed).frame == 1
    until(lambda: farm.has_ended(worker))
    assert farm.next(Report, lambda report: report.state == "ended").held == []
    assert farm.waiting() == 1


def test_a_worker_that_gives_back_stops_its_renders_and_leaves_within_seconds(farm: Farm) -> None:
    worker = farm.worker(slots=2)
    for frame in (1, 2):
        farm.render(frame, "sleep 60")
        farm.next(Started)
    asked = time.monotonic()
    worker.give_back()
    until(lambda: farm.has_ended(worker))
    assert time.monotonic() - asked < 5
    until(lambda: farm.waiting() == 2)
    assert list((farm.folder / "worker" / "attempts").iterdir()) == []


def test_a_frame_that_is_called_off_ends_and_does_not_come_back(farm: Farm) -> None:
    worker = farm.worker()
    farm.render(1, "sleep 60")
    farm.next(Started)
    farm.tell(Stop(job=1, frames=[1]))
    farm.render(2, "echo x >out")
    assert farm.next(Completed).frame == 2
    worker.drain()
    until(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0
    assert not [message for message in farm.kept if isinstance(message, Failed)]


def test_a_second_delivery_of_a_frame_in_hand_does_not_render_it_twice(farm: Farm) -> None:
    worker = farm.worker(slots=2, sandbox="off")
    runs = farm.folder / "runs"
    for _ in range(2):
        farm.render(1, f"echo run >>{runs}; sleep 0.5; echo x >out")
    farm.render(2, "sleep 0.6; echo x >out")
    assert {farm.next(Completed).frame for _ in range(2)} == {1, 2}
    assert runs.read_text() == "run\n"
    worker.drain()
    until(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def test_a_render_outlives_a_lost_connection_and_is_not_rendered_twice(farm: Farm, management: Management) -> None:
    worker = farm.worker(sandbox="off")
    runs, go = farm.folder / "runs", farm.folder / "go"
    farm.render(1, f"echo run >>{runs}; while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    first = farm.next(Started)
    vhost, session = farm.url.rsplit("/", 1)[1], farm.link.session
    until(lambda: management.close_connections(vhost) >= 4)  # ours, the blobs', and both of the worker
    until(lambda: farm.link.session > session)
    farm.next(Report, lambda report: report.held == [first.token])
    go.touch()
    assert farm.next(Completed).token == first.token
    worker.drain()
    until(lambda: farm.has_ended(worker))
    assert runs.read_text() == "run\n"
    assert farm.waiting() == 0


def test_a_result_that_is_ready_while_the_connection_is_down_is_sent_later(farm: Farm, management: Management) -> None:
    farm.worker(slots=2)
    vhost = farm.url.rsplit("/", 1)[1]
    until(lambda: management.close_connections(vhost) >= 4)
    for frame in range(20):
        farm.render(frame, "sleep 0.05; echo x >out")
        if frame in (5, 10):
            management.close_connections(vhost)
    done: set[int] = set()
    while done != set(range(20)):
        done.add(farm.next(Completed).frame)


def test_a_long_frame_is_acknowledged_early_and_reported_as_held(farm: Farm) -> None:
    worker = farm.worker(early=0.5)
    go = farm.folder / "go"
    farm.render(1, f"while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    farm.next(Started)
    # One slot and no room beside it: when the room is 0, the frame is acknowledged and holds its slot all the same.
    report = farm.next(Report, lambda report: report.room == 0)
    assert report.held_frames == [(1, 1)]
    worker.give_back()
    until(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def test_results_wait_until_a_server_has_its_queue(vhost_url: str, tmp_path: Path) -> None:
    farm = Farm(vhost_url, tmp_path)
    try:
        farm.worker()
        farm.link.cancel(topology.RESULTS)
        delete_queue(vhost_url, topology.RESULTS)
        farm.render(1, "echo x >out")
        farm.next(Started)
        for queue_ in topology.SERVER_QUEUES:
            farm.link.declare(queue_)
        farm.link.consume(Consumer(queue=topology.RESULTS, tag="again", on_delivery=farm._hear, automatic=True))
        assert farm.next(Completed).frame == 1
    finally:
        farm.close()


def test_an_unreadable_frame_goes_to_the_dead_letters_and_the_worker_goes_on(farm: Farm) -> None:
    farm.worker()
    dead: queue.Queue[Delivery] = queue.Queue()
    farm.link.consume(Consumer(queue=topology.DEAD, tag="dead", on_delivery=dead.put, automatic=True))
    farm.link.publish(Outgoing(exchange=topology.FRAMES, key=farm.queue, body=b"nonsense"))
    assert dead.get(timeout=LIMIT).body == b"nonsense"
    farm.render(1, "echo x >out")
    farm.next(Completed)


def test_a_second_worker_of_the_same_name_is_refused(farm: Farm, tmp_path: Path) -> None:
    farm.worker(name="fast")
    elsewhere = Worker(
        Settings(data=tmp_path / "other host"), broker_url=farm.url, name="fast", slots=1, adapters={"shell": Shell()}
    )
    with pytest.raises(Conflict, match="'fast' is connected to this broker"):
        elsewhere.run()


def test_a_name_that_was_not_asked_for_gives_way_to_another(farm: Farm, tmp_path: Path) -> None:
    first, second = farm.worker(), farm.worker()
    assert first.name != second.name


def test_a_worker_that_can_render_nothing_says_what_to_install(farm: Farm) -> None:
    worker = Worker(Settings(data=farm.folder), broker_url=farm.url, adapters={"missing": Missing()})
    with pytest.raises(RendererUnavailable, match="install the package 'missing'"):
        worker.run()


def test_short_frames_are_taken_ahead_and_all_arrive_once(farm: Farm) -> None:
    worker = farm.worker(slots=2)
    for frame in range(100):
        farm.render(frame, "echo x >out")
    assert sorted(farm.next(Completed).frame for _ in range(100)) == list(range(100))
    farm.next(Report, lambda report: report.room > 2)
    worker.drain()
    until(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def delete_queue(url: str, name: str) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_delete(name)
    connection.close()
