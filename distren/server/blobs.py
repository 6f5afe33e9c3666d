"""The server's bytes: answers reads of what it has, and pulls what it is offered and lacks.

Several processes may do this for one server: they share the queue of reads and offers, and the folder of the store.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from distren import failpoints
from distren.amqp import topology
from distren.amqp.blob_holder import BlobHolder
from distren.amqp.blob_receiver import PATIENCE, BlobReceiver
from distren.amqp.link import HEARTBEAT, Consumer, Delivery, Link
from distren.amqp.mailbox import Mailbox
from distren.amqp.publisher import Carrier, Outgoing
from distren.domain.job import Blob
from distren.errors import DecodeError, DistrenError, OutputError
from distren.storage.blobstore import BlobStore, WrongBytes
from distren.wire import fields
from distren.wire.blobs import Offer, Read, Refused, Stored, Wanted
from distren.wire.codec import Message, decode

log = logging.getLogger(__name__)

PULLS = 8
"""blobs that are pulled at the same time"""
_PREFETCH = 64
_MOST_PULLS = 200_000
"""blobs that wait to be pulled; offers beyond that are refused for now"""
_KEPT = timedelta(days=7)
"""how long an interrupted upload may be resumed"""


@dataclass(eq=False, kw_only=True)
class _Pull:
    """A blob that is to be pulled, and the queues of all who offered it."""

    blob: Blob
    holders: list[str] = field(default_factory=list)


class BlobDesk:
    """Answers those who read and offer blobs over `link`; what it asks them comes to `reply_queue`, by `mailbox`."""

    def __init__(
        self,
        link: Carrier,
        mailbox: Mailbox,
        reply_queue: str,
        store: BlobStore,
        *,
        patience: float = PATIENCE,
        most_bytes: int | None = None,
    ) -> None:
        """`patience`: seconds without a byte after which the sender of a blob is given up.

        `most_bytes`: of blobs that are being pulled and wait for it; what goes beyond that is refused.
        """
        self._link, self._store, self._patience, self._most_bytes = link, store, patience, most_bytes
        self.receiver = BlobReceiver(link, mailbox, reply_queue, store)
        self._holder = BlobHolder(link, self._stored_path)
        self._lock = threading.Lock()
        self._pulls: dict[Blob, _Pull] = {}
        self._clerk = ThreadPoolExecutor(1, thread_name_prefix="blob offers")
        self._pullers = ThreadPoolExecutor(PULLS, thread_name_prefix="blob pull")

    def answer(self, delivery: Delivery, message: Message, done: Callable[[], None]) -> bool:
        """Deal with a read or an offer, soon, and call `done`; False for another message."""
        if isinstance(message, Read):
            self._holder.answer(delivery, message, done)
        elif isinstance(message, Offer) and delivery.reply_to:
            self._submit(self._clerk, self._consider, delivery, message, done)
        else:
            return False
        return True

    def stop(self) -> None:
        """Stop serving; what has arrived of a blob is kept, and its sender offers it again."""
        self.receiver.close()
        self._clerk.shutdown(cancel_futures=True)
        self._pullers.shutdown(wait=False, cancel_futures=True)
        self.receiver.close()
        self._pullers.shutdown(cancel_futures=True)
        self._holder.close()

    @staticmethod
    def _submit(executor: ThreadPoolExecutor, task: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            try:
                task(*arguments)
            except Exception:
                log.exception("a blob could not be dealt with")

        with suppress(RuntimeError):  # we are stopping: whoever asked asks again
            executor.submit(run)

    def _stored_path(self, digest: str) -> Path | None:
        return self._store.path(digest) if self._store.has(digest) else None

    # -- offers, in the clerk's thread -------------------------------------------------------------------------------

    def _consider(self, delivery: Delivery, offer: Offer, done: Callable[[], None]) -> None:
        """Say which blobs are wanted, and have them pulled."""
        failpoints.reach("server.blob.offer")
        sender = delivery.reply_to or ""
        offered = [wire.value() for wire in offer.blobs]
        missing = [blob for blob in offered if self._store.claim(blob.digest) != blob.size]
        wanted = Wanted(
            missing=[fields.Blob.of(blob) for blob in missing],
            have=[self._store.partial_size(blob.digest) for blob in missing],
        )
        self._tell(sender, wanted, correlation_id=delivery.correlation_id)
        for blob in missing:
            self._want(blob, sender)
        done()

    def _want(self, blob: Blob, sender: str) -> None:
        with self._lock:
            pull = self._pulls.get(blob)
            if pull is None and self._has_room(blob):
                self._pulls[blob] = pull = _Pull(blob=blob, holders=[sender])
                self._submit(self._pullers, self._pull, pull)
            elif pull is not None and sender not in pull.holders:
                pull.holders.append(sender)
        if pull is None:
            reason = "too much is on its way to the server"
            if self._most_bytes is not None:
                reason += f": its quota of {self._most_bytes} bytes for a peer"
            log.warning("a blob of %d bytes is refused: %s", blob.size, reason, extra={"blob": blob.digest})
            self._tell(sender, Refused(digest=blob.digest, reason=reason))

    def _has_room(self, blob: Blob) -> bool:
        if self._most_bytes is not None:
            under_way = sum(pulled.size for pulled in self._pulls)
            if under_way + blob.size > self._most_bytes:
                return False
        return len(self._pulls) < _MOST_PULLS

    # -- pulls, in the pullers' threads ------------------------------------------------------------------------------

    def _pull(self, pull: _Pull) -> None:
        """Pull from each who offers the blob, until one has sent it; then tell all who still wait."""
        stored = False
        while not stored and (sender := self._next_holder(pull)) is not None:
            try:
                stored = self._fetch(pull.blob, sender)
            except DistrenError as error:
                again = not isinstance(error, WrongBytes | OutputError)
                log.warning("a blob did not arrive", extra={"blob": pull.blob.digest, "reason": str(error)})
                self._drop_holder(pull, sender)
                full = isinstance(error, OutputError)
                self._tell(sender, Refused(digest=pull.blob.digest, reason=str(error)[:200], again=again, full=full))
        for holder in self._ended(pull):
            self._tell(holder, Stored(digest=pull.blob.digest))

    def _fetch(self, blob: Blob, sender: str) -> bool:
        path = self.receiver.fetch(blob, sender, timeout=self._patience)
        if (size := path.stat().st_size) != blob.size:
            raise WrongBytes(f"{blob.digest[:12]} has {size} bytes, not {blob.size}")
        return True

    def _next_holder(self, pull: _Pull) -> str | None:
        """Who is asked next; None ends the pull, so that a later offer begins another."""
        with self._lock:
            if pull.holders:
                return pull.holders[0]
            self._pulls.pop(pull.blob, None)
            return None

    def _drop_holder(self, pull: _Pull, sender: str) -> None:
        with self._lock:
            pull.holders.remove(sender)

    def _ended(self, pull: _Pull) -> list[str]:
        with self._lock:
            self._pulls.pop(pull.blob, None)
            return pull.holders

    def _tell(self, receiver: str, message: Message, correlation_id: str | None = None) -> None:
        outgoing = Outgoing(
            exchange=topology.DEFAULT,
            key=receiver,
            body=message.encode(),
            correlation_id=correlation_id,
            persistent=False,
            type=message.type,
        )
        self._link.publish(outgoing)


class BlobService:
    """Serves the queue distren.blobs from threads of its own, between `start` and `stop`."""

    def __init__(
        self,
        broker_url: str,
        server_name: str,
        store: BlobStore,
        *,
        patience: float = PATIENCE,
        heartbeat: int = HEARTBEAT,
        elsewhere: Callable[[Delivery], bool] = lambda _: False,
    ) -> None:
        """`elsewhere` takes the messages that are for another server, and says whether it has."""
        self._store, self._elsewhere = store, elsewhere
        own = topology.server_queue(server_name, f"blobs.{uuid.uuid4().hex[:8]}")
        shared = [queue for queue in topology.SERVER_QUEUES if queue.name == topology.BLOBS]
        self._link = Link(
            broker_url, name=f"server {server_name} (blobs)", queues=[*shared, own], patient=True, heartbeat=heartbeat
        )
        self._mailbox = Mailbox(own.name)
        self._desk = BlobDesk(self._link, self._mailbox, own.name, store, patience=patience)

    def start(self) -> None:
        """Connect and serve; raises what Link.start raises."""
        self._store.clean(_KEPT)
        self._link.consume(self._mailbox.consumer())
        self._link.consume(
            Consumer(queue=topology.BLOBS, tag="blobs", on_delivery=self._on_request, prefetch=_PREFETCH)
        )
        self._link.start()

    def stop(self) -> None:
        """Stop serving."""
        self._desk.stop()
        self._link.close()

    def _on_request(self, delivery: Delivery) -> None:
        """In the link's thread. A request is acknowledged when it is answered: if we die, another answers it."""
        if self._elsewhere(delivery):
            self._link.acknowledge(delivery)
            return
        try:
            message = decode(delivery.body)
        except DecodeError as error:
            log.warning("dropped a request for blobs that can not be understood: %s", error)
            self._link.bury(delivery)
            return
        if not self._desk.answer(delivery, message, partial(self._link.acknowledge, delivery)):
            log.warning("dropped a message that is no request for blobs: %s", message.type)
            self._link.bury(delivery)
