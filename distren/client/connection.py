"""A client's one connection to the broker: its queue, the requests that it asks, and the news that it listens to."""

from __future__ import annotations

import getpass
import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from distren.amqp import topology
from distren.amqp.link import Delivery, Link
from distren.amqp.mailbox import Mailbox
from distren.amqp.requests import PATIENCE, Reply, Requester
from distren.errors import NotFound
from distren.wire.codec import Message
from distren.wire.frames import LogText, ReadLog
from distren.wire.jobs import Change, FrameNews, JobInfo, JobNews, ShowJob, ShownJob, Submit
from distren.wire.peers import Watch

# pika logs what it raises, and we translate what it raises: a program that sets up no logging hears of it once.
logging.getLogger("pika").addHandler(logging.NullHandler())

LOG_PATIENCE = 15.0
"""seconds; a worker that has nothing to say says so after 5"""
ASK_AGAIN = 15.0
"""seconds without news after which is asked what they would have told: they may be lost"""
PEER_PATIENCE = 45.0
"""seconds; the server that is here gives a peer 20"""
News = JobNews | FrameNews | None
"""None: the connection was away, so that news may have been missed"""


class Connection:
    """Opened by `start`, ended by `close`; every method may be called from any thread."""

    def __init__(self, url: str) -> None:
        user, host, pid = _user(), socket.gethostname(), os.getpid()
        queue = topology.client_queue(f"{_key_part(user)}.{_key_part(host)}.{pid}.{secrets.token_hex(4)}")
        self.queue = queue.name
        news = [exchange for exchange in topology.EXCHANGES if exchange.name == topology.NEWS]
        self.link = Link(url, name=f"client {user}@{host} {pid}", exchanges=news, queues=[queue], on_up=self._connected)
        self.requester = Requester(self.link, self.queue)
        self.mailbox = Mailbox(self.queue)
        self.mailbox.requester = self.requester
        self.mailbox.on(JobNews, self._pass_on)
        self.mailbox.on(FrameNews, self._pass_on)
        self._lock = threading.Lock()
        self._listeners: dict[str, list[SimpleQueue[News]]] = {}

    def start(self) -> None:
        """Connect; raises BrokerUnavailable, AccessRefused and SettingsError."""
        self.link.consume(self.mailbox.consumer())
        self.link.start()

    def close(self) -> None:
        self.link.close()

    def ask(
        self, message: Message, expect: type[Reply], timeout: float = PATIENCE, *, server: str | None = None
    ) -> Reply:
        """The server's reply; raises what it refuses with, or NoAnswer after `timeout` seconds.

        `server`: who is asked, where that is a peer of the server that is here.
        """
        takes_long = server is None and isinstance(message, Change | Submit)
        return self.requester.ask(message, expect, timeout=timeout, server=server, patient=takes_long)

    def read_log(self, worker: str, question: ReadLog) -> LogText:
        """What a worker's attempt has printed. Raises NotFound where it has none such, or there is no such worker."""
        queue = topology.worker_queue(worker).name
        return self.requester.ask(question, LogText, queue=queue, timeout=LOG_PATIENCE)

    @contextmanager
    def listening(self, job: int, *, frames: bool, server: str | None = None) -> Iterator[SimpleQueue[News]]:
        """The news of a job, and of its frames where `frames` is set, from now on.

        A question that is asked after this has returned is answered after the news began: nothing falls between.
        """
        keys = [topology.job_news(job, server)] + ([topology.frame_news(job, server)] if frames else [])
        listener: SimpleQueue[News] = SimpleQueue()
        with self._lock:
            for key in keys:
                if key not in self._listeners:
                    self.link.declare(self._bound_to(key))
                self._listeners.setdefault(key, []).append(listener)
        try:
            yield listener
        finally:
            with self._lock:
                for key in keys:
                    self._listeners[key].remove(listener)
                    if not self._listeners[key]:
                        del self._listeners[key]
                        self.link.unbind(self._bound_to(key))

    def _bound_to(self, key: str) -> topology.Queue:
        """Our queue, as it is declared for the news under a routing key."""
        return topology.Queue(name=self.queue, exclusive=True, bindings=((topology.NEWS, key),))

    def _pass_on(self, delivery: Delivery, news: Message) -> None:
        if isinstance(news, JobNews | FrameNews):
            with self._lock:
                for listener in self._listeners.get(delivery.key, []):
                    listener.put(news)

    def _connected(self) -> None:
        """Whatever came to our queue before is lost: all that was asked is asked again, listeners are told to ask."""
        self.requester.ask_again()
        with self._lock:
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.put(None)


class ServerConnection:
    """A way to one server: the one that is here, or `peer`, to which the one that is here passes things on."""

    def __init__(self, connection: Connection, peer: str | None) -> None:
        self._connection, self.peer = connection, peer

    @property
    def ended(self) -> bool:
        """Whether the connection will not come back."""
        return self._connection.link.failure is not None

    def ask(self, message: Message, expect: type[Reply], timeout: float | None = None) -> Reply:
        """As Connection.ask; a peer gets more time."""
        patience = timeout or (PATIENCE if self.peer is None else PEER_PATIENCE)
        return self._connection.ask(message, expect, patience, server=self.peer)

    @contextmanager
    def listening(self, job: int, *, frames: bool) -> Iterator[SimpleQueue[News]]:
        """As Connection.listening; a peer's news come for a minute after each `look`."""
        with self._connection.listening(job, frames=frames, server=self.peer) as news:
            yield news

    def read_log(self, worker: str, question: ReadLog) -> LogText:
        """As Connection.read_log; the workers of a peer are out of reach."""
        if self.peer is not None:
            raise NotFound(f"worker {worker} belongs to the server '{self.peer}'")
        return self._connection.read_log(worker, question)

    def look(self, job: int, *, frames: bool) -> JobInfo:
        """The job as it is now; its news go on for a minute."""
        if self.peer is None:
            return self.ask(ShowJob(job=job), ShownJob).job
        return self.ask(Watch(job=job, frames=frames), ShownJob).job


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return f"uid{os.getuid()}"


def _key_part(text: str) -> str:
    """`text` as one part of a queue's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:60]
