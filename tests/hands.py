"""A worker that renders nothing: it takes frames, and says that they are done when the test lets it."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sites import Site
from waiting import PATIENCE

from distren.amqp.blobs import BlobSender
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.mailbox import Mailbox
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import EVENTS, class_queue_name, client_queue, frames_queue
from distren.domain import frameset
from distren.domain.job import Blob, JobSpec
from distren.domain.needs import Needs
from distren.jobfile.writer import write_jobfile
from distren.storage.blobstore import BlobStore
from distren.wire import fields, jobs
from distren.wire.codec import Message
from distren.wire.frames import Completed, Failed, Progress, Render, Report, Started
from distren.wire.jobs import Manifest, ManifestFile


def result_of(frame: int, size: int = 0) -> bytes:
    """The bytes that stand for the frame tarball of a frame."""
    return f"frame {frame} ".encode().ljust(size, b".")


class Hands:
    """A worker with `slots`; it holds all that it is given until `go` is set."""

    def __init__(
        self,
        site: Site,
        *,
        slots: int = 2,
        version: str = "3.7",
        size: int = 0,
        fails: bool = False,
        permanent: bool = False,
        pause_after: int | None = None,
    ) -> None:
        """`fails`: all that it takes, and as it says for good where `permanent`.

        `pause_after`: so many results, whereupon it holds what it is given until `go` is set.
        """
        self.name, self.slots, self.size = f"hands-{uuid.uuid4().hex[:4]}", slots, size
        self.fails, self.permanent, self.pause_after = fails, permanent, pause_after
        self.renderers = {"povray": version}
        self.queue = class_queue_name("default", self.renderers)
        self.go = threading.Event()
        self.go.set()
        self.began: list[Render] = []
        self.done: Counter[int] = Counter()
        self.link = Link(site.url, name="hands", queues=[own := client_queue(self.name)])
        self._mailbox = Mailbox(own.name)
        self._sender = BlobSender(self.link, self._mailbox, own.name)
        self._held: list[tuple[Delivery, Render]] = []
        self._changed = threading.Condition()
        self._ended = False
        self.link.start()
        self.link.consume(self._mailbox.consumer())
        self.link.declare(frames_queue(self.queue))
        self.link.consume(Consumer(queue=self.queue, tag="frames", on_delivery=self._take, prefetch=slots))
        self._threads = [threading.Thread(target=self._work, daemon=True), threading.Thread(target=self._report_on)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with self._changed:
            self._changed.notify_all()
        self.go.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._tell(self._report("ended"))
        self._sender.close()
        self.link.close()

    def _report_on(self) -> None:
        while not self._ended:
            self._tell(self._report("working"))
            with self._changed:
                self._changed.wait(1.0)

    def _report(self, state: str) -> Report:
        return Report(
            worker=self.name,
            host="h",
            pid=1,
            pool="default",
            queue=self.queue,
            renderers=self.renderers,
            slots=self.slots,
            room=self.slots,
            state=state,
            held=[],
            held_frames=[(render.job, render.frame) for _, render in list(self._held)],
            cores=2,
            memory=1,
            started=1.0,
            software="0",
        )

    def _tell(self, message: Message) -> None:
        self.link.publish(Outgoing(exchange=EVENTS, key=message.type, body=message.encode(), type=message.type))

    def progress(self, percent: float) -> bool:
        """Say how far all is that it holds; always True."""
        for _, render in list(self._held):
            self._tell(Progress(**_attempt(self.name, render), percent=percent))
        return True

    def _take(self, delivery: Delivery) -> None:
        render = Render.expect(delivery.body)
        self._tell(Started(**_attempt(self.name, render)))
        with self._changed:
            self._held.append((delivery, render))
            self.began.append(render)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._ended)
            self.go.wait()
            if self._ended:
                return
            delivery, render = self._held[0]
            self._finish(render)
            self.link.acknowledge(delivery)
            self._held.pop(0)

    def _finish(self, render: Render) -> None:
        if self.fails:
            reason = {"reason": "no light", "permanent": self.permanent}
            self._tell(Failed(**_attempt(self.name, render), seconds=0.1, **reason))
            return
        data = result_of(render.frame, self.size)
        blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
        inline = len(data) <= 2**20
        event = Completed(
            **_attempt(self.name, render),
            seconds=0.1,
            result=fields.Blob.of(blob),
            tarball=data if inline else None,
        )
        if not inline:
            self._upload(blob, data)
        self.done[render.frame] += 1
        if self.done.total() == self.pause_after:
            self.go.clear()
        self._tell(event)

    def _upload(self, blob: Blob, data: bytes) -> None:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "tarball")
            path.write_bytes(data)
            self._sender.offer_all([(blob, path)], timeout=PATIENCE)


def _attempt(worker: str, render: Render) -> dict[str, object]:
    token = hashlib.sha256(f"{worker} {render.job} {render.frame} {render.issue}".encode()).hexdigest()[:32]
    return {
        "worker": worker,
        "job": render.job,
        "frame": render.frame,
        "issue": render.issue,
        "token": token,
        "started": 1.0,
    }


def submit(site: Site, frames: str, *, files: Mapping[str, bytes] | None = None, **more: object) -> int:
    """Hand a job in at a site; its id."""
    spec = JobSpec(name="shot", renderer="povray", frames=frameset.parse(frames), settings={"scene": "a.pov"})
    spec = replace(spec, **more)  # type: ignore[arg-type]
    store = BlobStore(site.settings.blobs)
    contents = {"distrenjob.xml": write_jobfile(spec), "a.pov": b"camera {}", **(files or {})}
    manifest = Manifest(
        files=[
            ManifestFile(path=path, digest=store.put(data).digest, size=len(data)) for path, data in contents.items()
        ]
    )
    ask = jobs.Submit(manifest=fields.Blob.of(store.put(manifest.encode())), key=uuid.uuid4().hex)
    own = client_queue(uuid.uuid4().hex)
    link = Link(site.url, name="test client", queues=[own])
    requester = Requester(link, own.name)
    link.start()
    link.consume(Consumer(queue=own.name, tag="own", on_delivery=lambda one: requester.receive(one), automatic=True))
    try:
        return requester.ask(ask, jobs.Submitted, timeout=PATIENCE).job
    finally:
        link.close()


def needing(frame: str, at: Site, job: int, needed: str) -> tuple[Needs, ...]:
    """What a job says whose `frame` needs frames of a job of another site."""
    return (Needs(frames=frameset.parse(frame), needed=frameset.parse(needed), job=job, server=at.name),)


def held(at: Site) -> int:
    """How many frames of peers are at a site."""
    with at.engine.begin() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM guest_frames").scalar_one()
        return count
