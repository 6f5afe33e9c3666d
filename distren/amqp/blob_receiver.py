"""Pulls blobs from whoever holds them, piece by piece, into a blob store.

The receiver asks for ranges and keeps asking, so the sender keeps no state: a transfer resumes at the offset that is
on the disk, and the ranges asked for are the sender's credit. What is lost on the way is asked for again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from distren import failpoints
from distren.amqp.link import Delivery
from distren.amqp.mailbox import Mailbox
from distren.amqp.publisher import Carrier, Outgoing
from distren.amqp.topology import BLOBS, DEFAULT, SERVER_HEADER
from distren.domain.job import Blob
from distren.errors import DistrenError, NoAnswer, NotFound, TransferError
from distren.wire.blobs import CHUNK, Gone, Piece, Read

WINDOW = 16 * CHUNK
"""bytes of one blob that are asked for and have not been written yet"""
STEP = 4 * CHUNK
"""bytes asked for in one message"""
PATIENCE = 30.0
"""seconds without a piece from a holder after which it counts as gone"""
_ASK_AGAIN = 5.0
"""seconds of a holder's silence after which what it was asked for counts as lost"""
_LONGEST_SILENCE = 10.0
"""times the patience: how long a holder that sends other pieces may keep one blob waiting"""
_LOOK = 0.5
"""seconds between looks at the connection while no piece comes"""


class Place(Protocol):
    """Where the bytes of one blob go."""

    offset: int

    def write(self, data: bytes) -> None: ...

    def commit(self) -> Path: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Where blobs go; see distren.storage.blobstore."""

    def path(self, digest: str) -> Path: ...

    def open_partial(self, blob: Blob, *, timeout: float | None = None) -> Place | None: ...


class _Incoming:
    """The pieces of one blob that have been asked for: at most WINDOW bytes, whatever a sender sends."""

    def __init__(self, blob: Blob, offset: int) -> None:
        self.blob = blob
        self._start = self.base = self.end = offset
        self._pieces: dict[int, bytes] = {}
        self._changed = threading.Condition()
        self._failure: DistrenError | None = None

    def add(self, piece: Piece) -> bool:
        """Take a piece in; False for one that was not asked for, has come already or has a wrong size."""
        offset = piece.offset
        with self._changed:
            if (
                not self.base <= offset < self.end
                or (offset - self._start) % CHUNK
                or len(piece.data) != min(CHUNK, self.blob.size - offset)
                or offset in self._pieces
            ):
                return False
            self._pieces[offset] = piece.data
            if offset == self.base:
                self._changed.notify()
        return True

    def take(self, timeout: float) -> bytes | None:
        """The next bytes in order; None when they have not come in `timeout` seconds. Raises what `fail` was told."""
        with self._changed:
            self._changed.wait_for(lambda: self.base in self._pieces or self._failure is not None, timeout)
            if self._failure is not None:
                raise self._failure
            data = self._pieces.pop(self.base, None)
            if data is not None:
                self.base += len(data)
            return data

    def fail(self, error: DistrenError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify()

    def next_range(self) -> tuple[int, int] | None:
        """Offset and length of what may be asked for now."""
        with self._changed:
            length = min(STEP, self.blob.size - self.end)
            if length <= 0 or self.end + length - self.base > WINDOW:
                return None
            self.end += length
            return self.end - length, length

    def forget_requests(self) -> None:
        """What was asked for is lost: it may be asked for again."""
        with self._changed:
            self.end = self.base
            self._pieces.clear()


class BlobReceiver:
    """Fetches blobs into `store`; the pieces arrive in `reply_queue`, which `mailbox` serves over `link`."""

    def __init__(
        self, link: Carrier, mailbox: Mailbox, reply_queue: str, store: Store, *, server: str | None = None
    ) -> None:
        """`server`: who holds the blobs, where that is a peer of the server that is here."""
        self._headers = {} if server is None else {SERVER_HEADER: server}
        self._link, self._reply_queue, self._store = link, reply_queue, store
        self._lock = threading.Lock()
        self._incoming: dict[str, _Incoming] = {}
        self._heard: dict[str, float] = {}
        self._holders: dict[str, str] = {}
        mailbox.on(Piece, self._on_piece)
        mailbox.on(Gone, self._on_gone)

    def fetch(
        self,
        blob: Blob,
        holder: str = BLOBS,
        *,
        on_bytes: Callable[[int], None] | None = None,
        timeout: float = PATIENCE,
    ) -> Path:
        """Where `blob` is stored, once it is; pulls it from the queue `holder` unless it is there already.

        Blocks, and may run in several threads at a time. `on_bytes` is told how many more bytes are on the disk.
        Raises TransferError (wrong bytes, or no piece for `timeout` seconds: what came is kept for another fetch),
        NotFound (the holder does not have it), NoAnswer (no such holder) and OutputError (the disk).
        """
        place = self._store.open_partial(blob, timeout=timeout)
        if place is None:
            return self._store.path(blob.digest)
        told = on_bytes or (lambda _: None)
        try:
            told(place.offset)
            if place.offset < blob.size:
                self._pull(blob, holder, place, told, timeout)
            failpoints.reach("blob.store.before")
            path = place.commit()
            failpoints.reach("blob.store.after")
            return path
        finally:
            place.close()

    def close(self) -> None:
        """End every fetch that is under way with TransferError; what came of it is kept."""
        with self._lock:
            for incoming in self._incoming.values():
                incoming.fail(TransferError("the transfer was stopped"))

    def _pull(self, blob: Blob, holder: str, place: Place, told: Callable[[int], None], timeout: float) -> None:
        incoming = _Incoming(blob, place.offset)
        with self._lock:
            self._incoming[blob.digest] = incoming
            self._holders[blob.digest] = holder
            self._heard[holder] = time.monotonic()
        try:
            session = self._ask_for_more(incoming, holder)
            while place.offset < blob.size:
                data = self._awaited(incoming, holder, session, timeout)
                session = self._ask_for_more(incoming, holder)
                failpoints.reach("blob.chunk.write.before")
                place.write(data)
                failpoints.reach("blob.chunk.write.after")
                told(len(data))
        finally:
            with self._lock:
                del self._incoming[blob.digest], self._holders[blob.digest]
                if holder not in self._holders.values():
                    self._heard.pop(holder, None)

    def _awaited(self, incoming: _Incoming, holder: str, session: int, timeout: float) -> bytes:
        """The next bytes, asked for again where they may have been lost."""
        began = asked = time.monotonic()
        while (data := incoming.take(_LOOK)) is None:
            now = time.monotonic()
            heard = self._heard.get(holder, began)
            if now - max(heard, began) > timeout or now - began > timeout * _LONGEST_SILENCE:
                raise TransferError(
                    f"no more of {incoming.blob.digest[:12]} has come for {now - max(heard, began):.0f} s: "
                    f"{incoming.base} of {incoming.blob.size} bytes are here"
                )
            if session != self._link.session or now - max(heard, asked) > _ASK_AGAIN or now - asked > timeout:
                incoming.forget_requests()
                session, asked = self._ask_for_more(incoming, holder), now
        return data

    def _ask_for_more(self, incoming: _Incoming, holder: str) -> int:
        """Use up the window; the link's session through which that was done."""
        session = self._link.session

        def published(error: DistrenError | None) -> None:
            if isinstance(error, NotFound):
                incoming.fail(NoAnswer(f"nobody is there any more who could send {incoming.blob.digest[:12]}"))

        while (wanted := incoming.next_range()) is not None:
            offset, length = wanted
            read = Read(digest=incoming.blob.digest, offset=offset, length=length)
            outgoing = Outgoing(
                exchange=DEFAULT,
                key=holder,
                body=read.encode(),
                reply_to=self._reply_queue,
                persistent=False,
                type=read.type,
                headers=self._headers,
            )
            self._link.publish(outgoing, published)
        return session

    def _on_piece(self, _: Delivery, piece: Piece) -> None:
        incoming = self._incoming.get(piece.digest)
        if incoming is not None and incoming.add(piece):
            holder = self._holders.get(piece.digest)
            if holder is not None:
                self._heard[holder] = time.monotonic()

    def _on_gone(self, _: Delivery, gone: Gone) -> None:
        incoming = self._incoming.get(gone.digest)
        if incoming is not None:
            incoming.fail(NotFound(f"{gone.digest[:12]} can not be had: {gone.reason}"))
