"""Answers reads of blobs: a thread of its own reads the disk, and no more than a few pieces are under way."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from distren import failpoints
from distren.amqp.link import Delivery
from distren.amqp.publisher import Carrier, Outgoing
from distren.amqp.topology import DEFAULT
from distren.errors import DistrenError, NotFound
from distren.wire.blobs import CHUNK, Gone, Piece, Read

log = logging.getLogger(__name__)

UNDER_WAY = 16 * CHUNK
"""bytes that may wait for the broker to take them, for all receivers together: it bounds the memory"""
MOST_READS = 10_000
"""reads that may wait; what is dropped beyond that is asked for again"""


@dataclass(frozen=True, kw_only=True)
class _Question:
    read: Read
    reply_to: str
    done: Callable[[], None] | None = field(compare=False)
    arrived: float = field(compare=False)


class BlobHolder:
    """Sends pieces of the blobs that `open_blob` knows: the file of a digest, or None where there is none.

    `on_sent` is told, in the link's thread, the digest and number of bytes of each piece that the broker has taken.
    """

    def __init__(
        self,
        link: Carrier,
        open_blob: Callable[[str], Path | None],
        *,
        on_sent: Callable[[str, int], None] | None = None,
    ) -> None:
        self._link, self._open_blob, self._on_sent = link, open_blob, on_sent
        self._changed = threading.Condition()
        self._questions: deque[_Question] = deque()
        self._asked: set[_Question] = set()
        self._deaf: dict[str, float] = {}
        self._under_way = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def answer(self, delivery: Delivery, read: Read, done: Callable[[], None] | None = None) -> None:
        """Answer a read, soon: a handler for a mailbox. `done` is called when the broker has the answer."""
        question = _Question(read=read, reply_to=delivery.reply_to or "", done=done, arrived=time.monotonic())
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="blob holder", daemon=True)
                self._thread.start()
            if question not in self._asked and len(self._questions) < MOST_READS and question.reply_to:
                self._asked.add(question)
                self._questions.append(question)
                self._changed.notify_all()
                return
        if done is not None:
            done()

    def close(self) -> None:
        """Answer nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while (question := self._next()) is not None:
            try:
                self._serve(question)
            except OSError as error:
                self._say_gone(question, f"it can not be read: {error.strerror or error}"[:200])
            except Exception:
                log.exception("a read of a blob was not answered")
            if question.done is not None:
                question.done()

    def _next(self) -> _Question | None:
        with self._changed:
            self._changed.wait_for(lambda: self._questions or self._closed)
            if self._closed:
                return None
            question = self._questions.popleft()
            self._asked.discard(question)
            if not self._questions:
                self._deaf.clear()
            return question

    def _serve(self, question: _Question) -> None:
        read = question.read
        path = self._open_blob(read.digest)
        if path is None:
            self._say_gone(question, "it is not stored here")
            return
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset in range(read.offset, read.offset + read.length, CHUNK):
                wanted = min(CHUNK, read.offset + read.length - offset)
                data = os.pread(handle, wanted, offset)
                if len(data) < wanted:
                    self._say_gone(question, "its file is shorter than announced")
                    return
                if not self._send(question, Piece(digest=read.digest, offset=offset, data=data)):
                    return
        finally:
            os.close(handle)

    def _send(self, question: _Question, piece: Piece) -> bool:
        """Publish a piece as soon as there is room; False where nobody receives it any more."""
        size = len(piece.data)
        with self._changed:
            self._changed.wait_for(lambda: self._under_way + size <= UNDER_WAY or self._closed)
            if self._closed or self._deaf.get(question.reply_to, 0.0) > question.arrived:
                return False
            self._under_way += size

        def published(error: DistrenError | None) -> None:
            with self._changed:
                self._under_way -= size
                if isinstance(error, NotFound):
                    self._deaf[question.reply_to] = time.monotonic()
                self._changed.notify_all()
            if error is None and self._on_sent is not None:
                self._on_sent(piece.digest, size)

        outgoing = Outgoing(
            exchange=DEFAULT,
            key=question.reply_to,
            body=piece.data,
            correlation_id=piece.label,
            persistent=False,
            type=Piece.type,
        )
        failpoints.reach("blob.chunk.send.before")
        self._link.publish(outgoing, published)
        failpoints.reach("blob.chunk.send.after")
        return True

    def _say_gone(self, question: _Question, reason: str) -> None:
        gone = Gone(digest=question.read.digest, reason=reason)
        self._link.publish(
            Outgoing(exchange=DEFAULT, key=question.reply_to, body=gone.encode(), persistent=False, type=gone.type)
        )
