"""A real server on a real broker; the test plays client and worker."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import EVENTS, NEWS, Queue, class_queue_name, client_queue, frames_queue, job_news
from distren.config import Settings
from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.domain.needs import Needs
from distren.errors import Conflict, InputError, NotFound, RendererUnavailable, SchemaError
from distren.jobfile.writer import write_jobfile
from distren.server import collection
from distren.server.daemon import Server
from distren.storage import schema
from distren.storage.blobstore import BlobStore
from distren.wire import fields, jobs
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Failed, Render, Report, Started
from distren.wire.jobs import Manifest, ManifestFile

PATIENCE = 30.0
RENDERERS = {"povray": "3.7"}
QUEUE = class_queue_name("default", RENDERERS)


def settings(folder: Path, name: str = "alpha", database: str | None = None) -> Settings:
    return Settings(data=folder, server=name, database=database)


class RunningServer:
    """A server in a thread, that can be stopped and started again."""

    def __init__(self, given: Settings, broker_url: str) -> None:
        self.settings, self.broker_url = given, broker_url
        self.error: BaseException | None = None

    def start(self) -> None:
        self._server = Server(self.settings, self.broker_url)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        self._server.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class Peer:
    """A client and a worker on one connection: what the server sends ends in queues that the test reads."""

    def __init__(self, url: str, store: BlobStore) -> None:
        self.store = store
        self.name = uuid.uuid4().hex
        own = client_queue(self.name)
        self.link = Link(url, name="test peer", queues=[own])
        self.requester = Requester(self.link, own.name)
        self.news: queue.Queue[Message] = queue.Queue()
        self.frames: queue.Queue[tuple[Delivery, Render]] = queue.Queue()
        self.link.start()
        self.link.consume(Consumer(queue=own.name, tag="own", on_delivery=self._own, automatic=True))

    def _own(self, delivery: Delivery) -> None:
        if not self.requester.receive(delivery):
            self.news.put(decode(delivery.body))

    def listen(self, job: int) -> None:
        self.link.declare(Queue(name=client_queue(self.name).name, exclusive=True, bindings=((NEWS, job_news(job)),)))

    def work(self, *, room: int = 10) -> None:
        """Become a worker of the class povray 3.7."""
        self.link.declare(frames_queue(QUEUE))
        self.link.consume(Consumer(queue=QUEUE, tag="frames", on_delivery=self._frame, prefetch=room))
        self.report(room)

    def report(self, room: int = 10, state: str = "working") -> None:
        self.tell(
            Report(
                worker="w1",
                host="h",
                pid=1,
                pool="default",
                queue=QUEUE,
                renderers=RENDERERS,
                slots=2,
                room=room,
                state=state,
                held=[],
                cores=2,
                memory=1,
                started=1.0,
                software="0",
            )
        )

    def _frame(self, delivery: Delivery) -> None:
        self.frames.put((delivery, Render.expect(delivery.body)))

    def tell(self, message: Message) -> None:
        self.link.publish_all([Outgoing(exchange=EVENTS, key=message.type, body=message.encode())], PATIENCE)

    def next_frame(self) -> tuple[Delivery, Render]:
        return self.frames.get(timeout=PATIENCE)

    def finish(self, delivery: Delivery, render: Render, tarball: bytes | None = None) -> None:
        data = tarball if tarball is not None else f"frame {render.frame}".encode()
        digest = hashlib.sha256(f"frame {render.frame}".encode()).hexdigest()
        self.tell(
            Completed(
                **_attempt(render),
                seconds=0.5,
                result=fields.Blob(digest=digest, size=len(data)),
                tarball=data,
            )
        )
        self.link.acknowledge(delivery)

    def submit(self, frames: str = "1-3", **options: object) -> jobs.Submitted:
        spec = JobSpec(name="test", renderer="povray", frames=frameset.parse(frames), settings={"scene": "a.pov"})
        spec = replace(spec, needs=options.get("needs", ()))  # type: ignore[arg-type]
        contents = {"distrenjob.xml": write_jobfile(spec), "a.pov": b"camera {}"}
        contents |= options.get("files", {})  # type: ignore[arg-type]
        blobs = {path: self.store.put(data) for path, data in contents.items() if data is not None}
        listed = [ManifestFile(path=path, digest=blob.digest, size=blob.size) for path, blob in blobs.items()]
        manifest = self.store.put(Manifest(files=listed).encode())
        return self.ask_submit(manifest)

    def ask_submit(self, manifest: Blob, key: str | None = None) -> jobs.Submitted:
        request = jobs.Submit(manifest=fields.Blob.of(manifest), key=key or uuid.uuid4().hex)
        return self.requester.ask(request, jobs.Submitted)

    def show(self, job: int) -> jobs.JobInfo:
        return self.requester.ask(jobs.ShowJob(job=job), jobs.ShownJob).job

    def wait_for(self, job: int, wanted: Callable[[jobs.JobNews], bool]) -> jobs.JobNews:
        while True:
            news = self.news.get(timeout=PATIENCE)
            if isinstance(news, jobs.JobNews) and news.job == job and wanted(news):
                return news

    def until(self, question: Callable[[], bool]) -> None:
        """Ask until it is true; each question is a round trip to the server."""
        for _ in range(2_000):
            if question():
                return
        raise AssertionError("it never became true")


def _attempt(render: Render) -> dict[str, object]:
    return {
        "worker": "w1",
        "job": render.job,
        "frame": render.frame,
        "issue": render.issue,
        "token": uuid.uuid4().hex,
        "started": 5.0,
    }


@pytest.fixture
def server(vhost_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    given = settings(tmp_path)
    schema.upgrade(given.database_url)
    running = RunningServer(given, vhost_url)
    running.start()
    yield running
    running.stop()
    assert running.error is None


@pytest.fixture
def peer(server: RunningServer) -> Iterator[Peer]:
    made = Peer(server.broker_url, BlobStore(server.settings.blobs))
    made.until(lambda: _answers(made))
    yield made
    made.link.close()


def _answers(peer: Peer) -> bool:
    try:
        peer.requester.ask(jobs.Describe(), jobs.Description, timeout=5.0)
    except Exception:
        return False
    return True


def test_a_job_passes_from_submit_to_done(peer: Peer) -> None:
    submitted = peer.submit("1-3")
    assert (submitted.server, submitted.frames) == ("alpha", 3)
    peer.listen(submitted.job)
    peer.work()
    for _ in range(3):
        delivery, render = peer.next_frame()
        assert render.job == submitted.job
        peer.tell(Started(**_attempt(render)))  # type: ignore[arg-type]
        peer.finish(delivery, render)
    news = peer.wait_for(submitted.job, lambda news: news.state == "done")
    assert news.counts == {"done": 3}
    listed = peer.requester.ask(jobs.ListFrames(job=submitted.job), jobs.Frames)
    assert [frame.frame for frame in listed.frames] == [1, 2, 3]
    for frame in listed.frames:
        assert frame.result is not None
        assert peer.store.path(frame.result.digest).read_bytes() == f"frame {frame.frame}".encode()


def test_a_frame_is_issued_with_the_results_that_it_needs(peer: Peer) -> None:
    job = peer.submit("1-3", needs=(Needs(frames=frameset.parse("3"), needed=frameset.parse("1-2")),)).job
    peer.listen(job)
    listed = peer.requester.ask(jobs.ListFrames(job=job), jobs.Frames).frames
    assert [(frame.state, frame.waits_for) for frame in listed] == [("ready", 0), ("ready", 0), ("blocked", 2)]
    assert listed[2].reason == f"waits for distren://alpha/{job}/frame/1 and 1 more"
    peer.work()
    for _ in range(2):
        peer.finish(*peer.next_frame())
    delivery, render = peer.next_frame()
    digests = [hashlib.sha256(f"frame {number}".encode()).hexdigest() for number in (1, 2)]
    assert render.frame == 3
    assert render.needs == [(job, 1, digests[0], 7), (job, 2, digests[1], 7)]
    peer.finish(delivery, render)
    peer.wait_for(job, lambda news: news.state == "done")


@pytest.mark.parametrize(
    ("job", "named", "error", "why"),
    [(10**6, None, NotFound, "no job 1000000"), (1, "beta", InputError, "which is no peer of 'alpha'")],
)
def test_needs_that_can_not_be_met_are_refused(
    peer: Peer, job: int, named: str | None, error: type[Exception], why: str
) -> None:
    rule = Needs(frames=frameset.parse("1"), needed=frameset.parse("1"), job=job, server=named)
    with pytest.raises(error, match=why):
        peer.submit("1", needs=(rule,))
    assert peer.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs == []


def test_a_server_keeps_its_jobs_in_postgresql(vhost_url: str, postgresql_url: str, tmp_path: Path) -> None:
    given = settings(tmp_path, database=postgresql_url)
    schema.upgrade(given.database_url)
    running = RunningServer(given, vhost_url)
    running.start()
    peer = Peer(vhost_url, BlobStore(given.blobs))
    try:
        peer.until(lambda: _answers(peer))
        job = peer.submit("1-3").job
        peer.work()
        peer.finish(*peer.next_frame())
        running.stop()
        running.start()
        peer.report()
        peer.finish(*peer.next_frame())
        peer.finish(*peer.next_frame())
        peer.until(lambda: peer.show(job).state == "done")
    finally:
        peer.link.close()
        running.stop()
    assert running.error is None


def test_others_are_answered_while_a_large_job_is_written_and_changed(peer: Peer, server: RunningServer) -> None:
    """Between two parts of it; and nobody sees the job before it is all there."""
    other = Peer(server.broker_url, peer.store)
    answers: list[list[jobs.JobInfo]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers.append(other.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs)

    asking = threading.Thread(target=ask)
    asking.start()
    counted = []
    try:
        job = peer.submit("1-600000,700000").job
        counted.append(len(answers))
        assert not [jobs for jobs in answers[:-1] if jobs and sum(jobs[0].counts.values()) != 600_001]
        for action, ranges in (("cancel", None), ("retry", [(1, 700_000, 1)]), ("cancel", [(1, 600_000, 2)])):
            change = jobs.Change(job=job, action=action, frames=ranges)  # type: ignore[arg-type]
            peer.requester.ask(change, jobs.ShownJob, timeout=120)
            counted.append(len(answers))
    finally:
        over.set()
        asking.join()
        other.link.close()
    assert all(after - before > 3 for before, after in zip([0, *counted], counted, strict=False)), counted
    assert peer.show(job).counts == {"cancelled": 300_000, "ready": 300_001}


def test_changes_of_a_job_follow_one_another(peer: Peer, server: RunningServer) -> None:
    job = peer.submit("1-200000").job
    other = Peer(server.broker_url, peer.store)
    asked = [
        threading.Thread(
            target=lambda one=one, action=action: one.requester.ask(jobs.Change(job=job, action=action), jobs.ShownJob)
        )
        for one, action in ((peer, "cancel"), (other, "retry"))
    ]
    for one in asked:
        one.start()
    for one in asked:
        one.join()
    other.link.close()
    counts = {state: count for state, count in peer.show(job).counts.items() if count}
    assert counts in ({"cancelled": 200_000}, {"ready": 200_000})


def test_the_disk_of_a_deleted_job_is_freed_and_what_others_need_stays(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "_FIRST", 0.0)
    given = settings(tmp_path)
    schema.upgrade(given.database_url)
    running = RunningServer(given, vhost_url)
    running.start()
    peer = Peer(vhost_url, BlobStore(given.blobs))
    try:
        peer.until(lambda: _answers(peer))
        first, second = peer.submit("1", files={"big.inc": b"x" * 10**6}).job, peer.submit("1").job
        for path in given.blobs.glob("??/*"):
            os.utime(path, (1.0, 1.0))
        digest = hashlib.sha256(b"x" * 10**6).hexdigest()
        peer.requester.ask(jobs.Change(job=first, action="delete", force=True), jobs.ShownJob)
        peer.until(lambda: bool(peer.show(second)) and not peer.store.has(digest))
        assert not peer.store.has(digest)
        files = peer.requester.ask(jobs.ListFiles(job=second), jobs.Files).files
        assert all(peer.store.has(file.blob.digest) for file in files if file.blob is not None)
    finally:
        peer.link.close()
        running.stop()
    assert running.error is None


def test_a_repeated_submission_is_the_same_job(peer: Peer) -> None:
    spec = JobSpec(name="test", renderer="povray", frames=frameset.parse("5"), settings={"scene": "a.pov"})
    blob, scene = peer.store.put(write_jobfile(spec)), peer.store.put(b"camera {}")
    listed = [
        ManifestFile(path="distrenjob.xml", digest=blob.digest, size=blob.size),
        ManifestFile(path="a.pov", digest=scene.digest, size=scene.size),
    ]
    manifest, key = peer.store.put(Manifest(files=listed).encode()), uuid.uuid4().hex
    assert peer.ask_submit(manifest, key) == peer.ask_submit(manifest, key)


def test_a_damaged_result_is_a_failed_attempt_and_the_frame_is_issued_again(peer: Peer) -> None:
    job = peer.submit("1").job
    peer.listen(job)
    peer.work()
    peer.finish(*peer.next_frame(), tarball=b"frame X")
    delivery, render = peer.next_frame()
    assert render.issue == 2
    peer.finish(delivery, render)
    peer.wait_for(job, lambda news: news.state == "done")
    attempts = peer.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert [(attempt.state, attempt.reason) for attempt in attempts] == [
        ("failed", "its frame tarball arrived damaged"),
        ("done", None),
    ]


def test_a_job_without_workers_says_what_it_waits_for(peer: Peer) -> None:
    job = peer.submit().job
    assert "no worker of pool 'default' can run 'povray'" in peer.show(job).error


def test_a_paused_job_gives_its_queued_frames_back_and_goes_on_when_resumed(peer: Peer) -> None:
    peer.work(room=1)
    job = peer.submit("1-9").job
    peer.listen(job)
    delivery, render = peer.next_frame()
    peer.tell(Started(**_attempt(render)))  # type: ignore[arg-type]
    peer.until(lambda: peer.show(job).counts.get("rendering") == 1)
    change = jobs.Change(job=job, action="pause")
    assert peer.requester.ask(change, jobs.ShownJob).job.state == "paused"
    peer.until(lambda: peer.show(job).counts == {"ready": 8, "rendering": 1})
    peer.finish(delivery, render)
    peer.until(lambda: peer.show(job).counts == {"ready": 8, "done": 1})
    peer.requester.ask(jobs.Change(job=job, action="resume"), jobs.ShownJob)
    for _ in range(8):
        peer.finish(*peer.next_frame())
    peer.wait_for(job, lambda news: news.state == "done")


def test_a_higher_priority_passes_what_already_stands_in_the_queue(peer: Peer) -> None:
    peer.work(room=1)
    low = peer.submit("1-9").job
    first = peer.next_frame()
    high = peer.submit("1-2").job
    peer.requester.ask(jobs.Change(job=high, action="priority", priority=90), jobs.ShownJob)
    peer.until(lambda: peer.show(high).counts.get("queued", 0) == 2)
    peer.finish(*first)
    following = []
    for _ in range(2):
        delivery, render = peer.next_frame()
        following.append(render.job)
        peer.finish(delivery, render)
    assert following == [high, high]
    assert low != high


def test_a_cancelled_job_is_called_off_everywhere(peer: Peer) -> None:
    peer.work(room=1)
    job = peer.submit("1-9").job
    peer.next_frame()
    info = peer.requester.ask(jobs.Change(job=job, action="cancel"), jobs.ShownJob).job
    assert (info.state, info.counts) == ("cancelled", {"cancelled": 9})
    with pytest.raises(Conflict):
        peer.requester.ask(jobs.Change(job=job, action="pause"), jobs.ShownJob)


def test_a_failed_frame_keeps_its_reason_and_its_log(peer: Peer) -> None:
    peer.work()
    job = peer.submit("1").job
    delivery, render = peer.next_frame()
    reason = "scene.pov line 3: Parse Error"
    peer.tell(Failed(**_attempt(render), seconds=0.1, log=b"log", reason=reason, permanent=True))  # type: ignore[arg-type]
    peer.link.acknowledge(delivery)
    peer.until(lambda: peer.show(job).state == "failed")
    [frame] = peer.requester.ask(jobs.ListFrames(job=job), jobs.Frames).frames
    [attempt] = peer.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert (frame.reason, attempt.log) == (reason, b"log")


def test_a_restarted_server_goes_on_where_it_was(peer: Peer, server: RunningServer) -> None:
    job = peer.submit("1-20").job
    peer.listen(job)
    peer.work(room=2)
    peer.finish(*peer.next_frame())
    server.stop()
    held = [peer.next_frame()]
    peer.finish(*held[0])
    server.start()
    peer.report(2)
    for _ in range(18):
        peer.finish(*peer.next_frame())
    peer.wait_for(job, lambda news: news.state == "done" and news.counts == {"done": 20})


def test_frames_wait_in_the_database_when_the_last_worker_has_ended(peer: Peer) -> None:
    peer.work(room=2)
    job = peer.submit("1-9").job
    peer.until(lambda: peer.show(job).counts.get("queued", 0) >= 2)
    peer.link.cancel("frames")
    peer.report(state="ended")
    assert "no worker" in peer.show(job).error


@pytest.mark.parametrize(
    ("files", "error", "text"),
    [
        ({"distrenjob.xml": None}, InputError, "distrenjob.xml"),
        ({"distrenjob.xml": b"<job/>"}, InputError, "distrenjob.xml"),
        ({"../up": b""}, InputError, "up"),
    ],
)
def test_a_bad_seed_is_refused_and_leaves_no_job(
    peer: Peer, files: dict[str, bytes | None], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        peer.submit(files=files)
    assert peer.requester.ask(jobs.ListJobs(), jobs.Jobs).jobs == []


def test_a_renderer_that_nobody_has_is_refused(peer: Peer) -> None:
    spec = JobSpec(name="test", renderer="nosuch", frames=frameset.parse("1"))
    with pytest.raises(RendererUnavailable, match="no renderer is called 'nosuch'"):
        peer.submit(files={"distrenjob.xml": write_jobfile(spec)})


def test_a_manifest_that_was_not_uploaded_is_refused(peer: Peer) -> None:
    with pytest.raises(NotFound, match="was not uploaded"):
        peer.ask_submit(Blob(digest="0" * 64, size=5))


def test_an_unknown_job_is_named(peer: Peer) -> None:
    with pytest.raises(NotFound, match="there is no job 99"):
        peer.show(99)


def test_rubbish_does_not_stop_the_server(peer: Peer) -> None:
    for key, exchange in (("frame.completed", EVENTS), ("distren.requests", ""), ("worker.report", EVENTS)):
        rubbish = [Outgoing(exchange=exchange, key=key, body=body) for body in (b"", b"\xc1", b"\x81\xa4type\xa1x")]
        peer.link.publish_all(rubbish, PATIENCE)
    assert peer.requester.ask(jobs.Describe(), jobs.Description).server == "alpha"


def test_a_second_server_on_the_broker_is_refused(peer: Peer, server: RunningServer, tmp_path: Path) -> None:
    other = settings(tmp_path / "other", "beta")
    schema.upgrade(other.database_url)
    with pytest.raises(Conflict, match="another server runs on this broker"):
        Server(other, server.broker_url).run()


def test_a_server_refuses_an_empty_database_and_another_servers(vhost_url: str, tmp_path: Path) -> None:
    given = settings(tmp_path)
    with pytest.raises(SchemaError, match="distren db upgrade"):
        Server(given, vhost_url).run()
    schema.upgrade(given.database_url)
    running = RunningServer(given, vhost_url)
    running.start()
    running.stop()
    with pytest.raises(Conflict, match="belongs to the server 'alpha'"):
        Server(settings(tmp_path, "beta"), vhost_url).run()
