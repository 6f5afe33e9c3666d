"""Those who follow what a render says while it runs: each asks for what comes next, and is answered once.

Nothing is sent that nobody has asked for, and nothing waits for a follower but the log itself, which is capped.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from distren.amqp.link import Delivery
from distren.amqp.publisher import Carrier, Outgoing
from distren.amqp.topology import DEFAULT
from distren.wire.codec import Message
from distren.wire.frames import LogText, ReadLog
from distren.wire.jobs import Problem
from distren.worker.hand import Key
from distren.worker.transcript import Transcript

MOST = 64 * 1024
"""bytes of text in one answer, but for a longer line"""
HOLD = 5.0
"""seconds that a question waits for something to be said; a client gives up after longer"""
KEPT = 30.0
"""seconds that the log of an attempt that somebody followed stays after its end: the last lines are asked for then"""
_MOST_WAITING = 100
_MOST_KEPT = 16


@dataclass(frozen=True)
class _Question:
    delivery: Delivery
    position: int
    until: float


@dataclass(eq=False)
class _Log:
    said: Transcript = field(default_factory=Transcript)
    waiting: list[_Question] = field(default_factory=list)
    followed: bool = False
    over: float | None = None


class Followers:
    """The logs of the attempts that run here; any thread may call anything. `link` carries the answers."""

    def __init__(self, link: Carrier, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._link, self._clock = link, clock
        self._lock = threading.Lock()
        self._running: dict[Key, _Log] = {}
        self._ended: OrderedDict[Key, _Log] = OrderedDict()

    @contextmanager
    def log(self, key: Key) -> Iterator[Callable[[str], None]]:
        """The log of an attempt, which goes on until the end of the `with`: what is called with each of its lines."""
        log = _Log()
        with self._lock:
            self._running[key] = log
            self._ended.pop(key, None)
        try:
            yield lambda line: self._add(log, line)
        finally:
            with self._lock:
                del self._running[key]
                log.over = self._clock()
                self._answer_all(log)
                if log.followed:
                    self._ended[key] = log
                while len(self._ended) > _MOST_KEPT:
                    self._ended.popitem(last=False)

    def answer(self, delivery: Delivery, question: ReadLog) -> None:
        """Answer a question, now or later: a handler for a mailbox."""
        key = (question.job, question.frame, question.issue)
        with self._lock:
            log = self._running.get(key) or self._ended.get(key)
            if log is None:
                said = f"no attempt at frame {question.frame} of job {question.job} is under way here"
                self._send(delivery, Problem(error="NotFound", text=said))
                return
            log.followed = True
            asked = _Question(delivery, question.position, self._clock() + HOLD)
            waiting = sum(len(one.waiting) for one in self._running.values())
            if not self._answered(log, asked, late=waiting >= _MOST_WAITING):
                log.waiting.append(asked)

    def tick(self) -> None:
        """Answer those who have waited for long, and forget what nobody asks for any more."""
        now = self._clock()
        with self._lock:
            for log in self._running.values():
                log.waiting = [one for one in log.waiting if not self._answered(log, one, late=one.until <= now)]
            for key, log in list(self._ended.items()):
                if log.over is not None and now - log.over >= KEPT:
                    del self._ended[key]

    # -- with the lock held, but for _add ----------------------------------------------------------------------------

    def _add(self, log: _Log, line: str) -> None:
        with self._lock:
            log.said.add(line)
            if log.waiting:
                self._answer_all(log)

    def _answer_all(self, log: _Log) -> None:
        log.waiting = [one for one in log.waiting if not self._answered(log, one)]

    def _answered(self, log: _Log, question: _Question, *, late: bool = False) -> bool:
        """Answer where there is something to say, or it is `late`."""
        text, position = log.said.since(question.position, MOST)
        if not (text or late or log.over is not None):
            return False
        is_all = log.over is not None and not log.said.since(position, MOST)[0]
        answer = LogText(text=text.decode("utf-8", "replace"), position=position, over=is_all)
        self._send(question.delivery, answer)
        return True

    def _send(self, delivery: Delivery, answer: Message) -> None:
        if delivery.reply_to:
            self._link.publish(
                Outgoing(
                    exchange=DEFAULT,
                    key=delivery.reply_to,
                    body=answer.encode(),
                    correlation_id=delivery.correlation_id,
                    persistent=False,
                    type=answer.type,
                )
            )
