"""A server in a thread, and what talks to it: the test plays client and worker."""

from __future__ import annotations

import hashlib
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from waiting import PATIENCE, wait_for

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import EVENTS, NEWS, Queue, class_queue_name, client_queue, frames_queue, job_news
from distren.config import Settings
from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.jobfile.writer import write_jobfile
from distren.server.daemon import Server
from distren.storage import schema
from distren.storage.blobstore import BlobStore
from distren.wire import fields, jobs
from distren.wire.codec import Message, decode
from distren.wire.frames import Completed, Render, Report
from distren.wire.jobs import Manifest, ManifestFile

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


@contextmanager
def running(url: str, given: Settings) -> Iterator[RunningServer]:
    """A server with an empty database; in the end it must not have failed."""
    schema.upgrade(given.database_url)
    made = RunningServer(given, url)
    made.start()
    try:
        yield made
    finally:
        made.stop()
    assert made.error is None


class Player:
    """A client and a worker on one connection: what the server sends ends in queues that the test reads."""

    def __init__(self, url: str, store: BlobStore) -> None:
        self.store = store
        self.name = uuid.uuid4().hex
        own = client_queue(self.name)
        self.link = Link(url, name="test player", queues=[own])
        self.requester = Requester(self.link, own.name)
        self.news: queue.Queue[Message] = queue.Queue()
        self.frames: queue.Queue[tuple[Delivery, Render]] = queue.Queue()
        self.link.start()
        self.link.consume(Consumer(queue=own.name, tag="own", on_delivery=self._own, automatic=True))

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

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
                **attempt_at(render),
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

    def news_of(self, job: int, wanted: Callable[[jobs.JobNews], bool]) -> jobs.JobNews:
        while True:
            news = self.news.get(timeout=PATIENCE)
            if isinstance(news, jobs.JobNews) and news.job == job and wanted(news):
                return news


def player_of(server: RunningServer) -> Player:
    """A player of a server that answers; its link is to be closed."""
    made = Player(server.broker_url, BlobStore(server.settings.blobs))
    wait_for(lambda: answers(made))
    return made


def answers(player: Player) -> bool:
    try:
        player.requester.ask(jobs.Describe(), jobs.Description, timeout=5.0)
    except Exception:
        return False
    return True


def attempt_at(render: Render) -> dict[str, object]:
    return {
        "worker": "w1",
        "job": render.job,
        "frame": render.frame,
        "issue": render.issue,
        "token": uuid.uuid4().hex,
        "started": 5.0,
    }
