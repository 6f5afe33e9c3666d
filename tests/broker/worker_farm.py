"""A virtual host for real workers, whose server the test plays; the renderer is a shell."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from pydantic import ByteSize
from waiting import PATIENCE, wait_for

from distren.amqp import topology
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.config import Settings
from distren.domain.job import Blob
from distren.renderers.protocol import Capability, Command, ExpectedFile, Progress, Scene, Task, Trouble
from distren.server.blobs import BlobService
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.codec import Message, decode
from distren.wire.frames import Render
from distren.wire.jobs import Manifest, ManifestFile
from distren.worker.agent import Worker

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


class WorkerFarm:
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
        wait_for(lambda: made.ready.is_set() or not thread.is_alive())
        assert not errors, errors
        return made

    def render(self, frame: int, script: str, *, issue: int = 1, job: int = 1, **more: Any) -> Render:
        given: dict[str, Any] = {"time_limit": 60.0, "manifest": fields.Blob.of(self.manifest)} | more
        message = Render(
            job=job, frame=frame, issue=issue, renderer="shell", first=1, last=9, settings={"script": script}, **given
        )
        self.link.publish_all(
            [Outgoing(exchange=topology.FRAMES, key=self.queue, body=message.encode(), type=message.type)], PATIENCE
        )
        return message

    def tell(self, message: Message) -> None:
        self.link.publish(Outgoing(exchange=topology.CONTROL, key="", body=message.encode(), persistent=False))

    def next(self, kind: type[M], accept: Callable[[M], bool] = lambda message: True) -> M:
        """The next message of this kind, among all that workers say."""
        deadline = time.monotonic() + PATIENCE
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
        return counts.get(timeout=PATIENCE)

    def has_ended(self, worker: Worker) -> bool:
        return not any(thread.is_alive() for one, thread, _ in self.workers if one is worker)

    def close(self) -> None:
        for worker, _, _ in self.workers:
            worker.give_back()
        for _, thread, _ in self.workers:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self.blobs.stop()
        self.link.close()
