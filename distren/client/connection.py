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
from distren.wire.codec import Message
from distren.wire.jobs import FrameNews, JobNews

# pika logs what it raises, and we translate what it raises: a program that sets up no logging hears of it once.
logging.getLogger("pika").addHandler(logging.NullHandler())

News = JobNews | FrameNews | None
"""None: the connection was away, so that news may have been missed"""


class Connection:
    """Opened by `start`, ended by `close`; every method may be called from any thread."""

    def __init__(self, url: str) -> None:
        user, host, pid = _user(), socket.gethostname(), os.getpid()
        queue = topology.client_queue(f"{_key_part(user)}.{_key_part(host)}.{pid}.{secrets.token_hex(4)}")
        self.queue = queue.name
        news = [exchange for exchange in topology.EXCHANGES if exchange.name == topology.NEWS]
        self.link = Link(
            url, name=f"client {user}@{host} {pid}", exchanges=news, queues=[queue], on_up=self._tell_all_to_ask
        )
        self.requester = Requester(self.link, self.queue)
        self.mailbox = Mailbox(self.queue)
        self.mailbox.requester = self.requester
        self.mailbox.on(JobNews, self._pass_on)
        self.mailbox.on(FrameNews, self._pass_on)
        self._lock = threading.Lock()
        self._listeners: dict[int, list[SimpleQueue[News]]] = {}
        self._bound: dict[int, list[topology.Queue]] = {}

    def start(self) -> None:
        """Connect; raises BrokerUnavailable, AccessRefused and SettingsError."""
        self.link.consume(self.mailbox.consumer())
        self.link.start()

    def close(self) -> None:
        self.link.close()

    def ask(self, message: Message, expect: type[Reply], timeout: float = PATIENCE) -> Reply:
        """The server's reply; raises what it refuses with, or NoAnswer after `timeout` seconds."""
        return self.requester.ask(message, expect, timeout=timeout)

    @contextmanager
    def listening(self, job: int, *, frames: bool) -> Iterator[SimpleQueue[News]]:
        """The news of a job, and of its frames where `frames` is set, from now on.

        A question that is asked after this has returned is answered after the news began: nothing falls between.
        """
        keys = [topology.job_news(job)] + ([topology.frame_news(job)] if frames else [])
        listener: SimpleQueue[News] = SimpleQueue()
        with self._lock:
            self._listeners.setdefault(job, []).append(listener)
            self._bind(job, [(topology.NEWS, key) for key in keys])
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[job].remove(listener)
                if not self._listeners[job]:
                    del self._listeners[job]
                    for queue in self._bound.pop(job):
                        self.link.unbind(queue)

    def _bind(self, job: int, wanted: list[tuple[str, str]]) -> None:
        """Have this news come; with the lock held, so that a binding is never taken back after it was asked for."""
        bound = self._bound.setdefault(job, [])
        fresh = tuple(one for one in wanted if not any(one in queue.bindings for queue in bound))
        if fresh:
            bound.append(topology.Queue(name=self.queue, exclusive=True, bindings=fresh))
            self.link.declare(bound[-1])

    def _pass_on(self, _: Delivery, news: Message) -> None:
        if isinstance(news, JobNews | FrameNews):
            with self._lock:
                for listener in self._listeners.get(news.job, []):
                    listener.put(news)

    def _tell_all_to_ask(self) -> None:
        with self._lock:
            for listeners in self._listeners.values():
                for listener in listeners:
                    listener.put(None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        return f"uid{os.getuid()}"


def _key_part(text: str) -> str:
    """`text` as one part of a queue's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:60]
