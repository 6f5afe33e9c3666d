"""Ask the server, and get its reply: requests and replies over one link."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TypeVar

from distren import errors
from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Carrier, Outgoing
from distren.amqp.topology import DEFAULT, REQUESTS, SERVER_HEADER
from distren.errors import BrokerUnavailable, DistrenError, JobMoved, NoAnswer, NotFound
from distren.wire.codec import Message, decode
from distren.wire.jobs import Describe, Description, Problem
from distren.wire.moves import Moved

Reply = TypeVar("Reply", bound=Message)
PATIENCE = 30.0
"""seconds that a server may take to reply: it is restarted within that time"""
_SHORT = 5.0
"""seconds that a server may take to say who it is, while it is at something else"""
_MOST_TIMES = 40
"""times that a reply is waited for, as long as the server is there"""


@dataclass(frozen=True)
class _Question:
    outgoing: Outgoing
    reply: Future[bytes]

    def published(self, error: DistrenError | None) -> None:
        if isinstance(error, NotFound) and self.outgoing.key == REQUESTS:
            error = NoAnswer("no server has ever run on this broker: start one with 'distren up' or 'distren-server'")
        if error is not None and not self.reply.done():
            self.reply.set_exception(error)


class Requester:
    """Sends requests over `link` and matches the replies that arrive in `reply_queue` (declared by the caller).

    Whoever consumes that queue hands each delivery to `receive`, which tells replies by their correlation id.
    """

    def __init__(self, link: Carrier, reply_queue: str) -> None:
        self._link, self._reply_queue = link, reply_queue
        self._lock = threading.Lock()
        self._open: dict[str, _Question] = {}

    def receive(self, delivery: Delivery) -> bool:
        """Take `delivery` if it is a reply that somebody waits for."""
        with self._lock:
            waiting = self._open.pop(delivery.correlation_id or "", None)
        if waiting is None or waiting.reply.done():
            return False
        waiting.reply.set_result(delivery.body)
        return True

    def ask_again(self) -> None:
        """The connection is there again, and replies that came meanwhile are lost: send all open requests anew.

        They mean the same when they arrive twice, as with any delivery. May be called in the link's thread.
        """
        with self._lock:
            questions = list(self._open.values())
        for question in questions:
            self._link.publish(question.outgoing, question.published)

    def ask(
        self,
        message: Message,
        expect: type[Reply],
        *,
        queue: str = REQUESTS,
        timeout: float = PATIENCE,
        server: str | None = None,
        patient: bool = False,
    ) -> Reply:
        """Send `message` to `queue` and return the reply; `server` is the one that is asked, where that is a peer.

        `patient`: what is asked for may take long; as long as the server answers other questions it is waited for.

        Raises the error that the server names, NoAnswer after `timeout` seconds, DecodeError for another reply, and
        NotFound where there is no such `queue`.
        """
        key = uuid.uuid4().hex
        outgoing = Outgoing(
            exchange=DEFAULT,
            key=queue,
            body=message.encode(),
            reply_to=self._reply_queue,
            correlation_id=key,
            type=message.type,
            headers={} if server is None else {SERVER_HEADER: server},
        )
        future: Future[bytes] = Future()
        question = _Question(outgoing, future)
        with self._lock:
            self._open[key] = question
        self._link.publish(outgoing, question.published)
        try:
            for _ in range(_MOST_TIMES):
                done, _ = wait([future], timeout)
                if done or not (patient and self._is_there()):
                    break
            reply = decode(future.result(0))
        except FutureTimeout as error:
            reason = self._link.blocked if isinstance(self._link, Link) else None
            if reason is not None:
                raise BrokerUnavailable(
                    f"the broker takes no messages now ({reason}): give it memory or disk; frames in hand go on"
                ) from error
            whom = "the server" if queue == REQUESTS else f"'{queue}'"
            raise NoAnswer(f"{whom} did not answer {message.type} within {timeout:.0f} s: is it running?") from error
        finally:
            with self._lock:
                self._open.pop(key, None)
        return self._checked(reply, message, expect)

    def _is_there(self) -> bool:
        """Whether the server answers a question that takes no time."""
        try:
            self.ask(Describe(), Description, timeout=_SHORT)
        except DistrenError:
            return False
        return True

    @staticmethod
    def _checked(reply: Message, message: Message, expect: type[Reply]) -> Reply:
        if isinstance(reply, Problem):
            raise errors.by_name(reply.error)(reply.text)
        if isinstance(reply, Moved) and not isinstance(reply, expect):
            raise JobMoved(server=reply.server, job=reply.job)
        if not isinstance(reply, expect):
            raise errors.DecodeError(f"the server answered {message.type} with {reply.type}")
        return reply
