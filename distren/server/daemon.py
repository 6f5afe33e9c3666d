"""The server process: opens what a server needs, then lets it act in turns until somebody ends it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.topology import EXCHANGES, SERVER_QUEUES, Queue
from distren.config import Settings
from distren.errors import Conflict
from distren.server.acting import PREFETCH, Acting
from distren.server.blobs import BlobService
from distren.server.state import State
from distren.storage import identity, schema
from distren.storage.blobstore import BlobStore
from distren.storage.engine import open_engine

log = logging.getLogger(__name__)

TURN = 1_000
"""deliveries that one turn takes at most"""
_ALONE = Queue(name="distren.server", exclusive=True)
"""One server acts on a broker at a time; its connection holds this queue."""


class Server:
    """A server; `run` blocks until `stop` is called from another thread or a signal handler.

    Raises SchemaError, Conflict (the database is another server's; another server runs on this broker),
    AccessRefused and OutputError.
    """

    def __init__(self, settings: Settings, broker_url: str) -> None:
        self._settings = settings
        self._broker_url = broker_url
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the server after the turn that it is in."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        with ExitStack() as stack:
            acting = self._open(stack)
            log.info("server %s is ready", self._name)
            while not self._stopping.is_set():
                acting.turn(self._take(acting.wait()))
                if self._consuming.failure is not None:
                    raise self._consuming.failure
            self._publishing.flush(5.0)
            acting.settle()

    # -- opening -----------------------------------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> Acting:
        engine = open_engine(self._settings.database_url)
        stack.callback(engine.dispose)
        schema.check(engine)
        store = BlobStore(self._settings.blobs)
        with engine.begin() as connection:
            given = "server" in self._settings.model_fields_set
            name = None if given else identity.stored_name(connection)
            self._name = name = identity.claim(connection, (name or self._settings.server).lower(), time.time())
        self._consuming = self._link(f"server {name} (requests, results)", [*SERVER_QUEUES, _ALONE])
        self._publishing = self._link(f"server {name} (frames, replies)", SERVER_QUEUES)
        try:
            self._consuming.start()
        except Conflict as error:
            raise Conflict(f"another server runs on this broker: {error}") from error
        stack.callback(self._consuming.close)
        self._publishing.start()
        stack.callback(self._publishing.close)
        blobs = BlobService(self._broker_url, name, store)
        blobs.start()
        stack.callback(blobs.stop)
        acting = Acting(State(name=name, engine=engine, store=store), self._consuming, self._publishing, self._stopping)
        acting.resume()
        for source, prefetch in PREFETCH.items():
            self._consuming.consume(
                Consumer(queue=source, tag=f"server {name} {source}", on_delivery=self._inbox.put, prefetch=prefetch)
            )
        return acting

    def _link(self, name: str, queues: Sequence[Queue]) -> Link:
        return Link(self._broker_url, name=name, exchanges=EXCHANGES, queues=queues, patient=True)

    # -- what has arrived --------------------------------------------------------------------------------------------

    def _take(self, wait: float) -> list[Delivery]:
        """What has arrived; waits up to `wait` seconds for it."""
        taken: list[Delivery] = []
        try:
            first = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            while first is not None:
                taken.append(first)
                if len(taken) == TURN:
                    break
                first = self._inbox.get_nowait()
        except queue.Empty:
            pass
        return taken
