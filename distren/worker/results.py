"""Tells the server what became of attempts, and does not rest before the broker has confirmed it.

A frame tarball of at most wire.frames.INLINE bytes travels inside the event. A larger one is offered as a blob, read
by the server, and only when that says that it is stored the event follows. While the broker is away the link keeps
the events; what finds no server's queue, and offers that nobody answers, are repeated by `tick`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distren import failpoints
from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import BLOBS, DEFAULT, EVENTS
from distren.domain.job import Blob
from distren.errors import BrokerUnavailable, DistrenError
from distren.wire import blobs as wire
from distren.wire.codec import Message
from distren.wire.fields import Blob as WireBlob
from distren.wire.frames import Completed, Failed, Progress, Started
from distren.worker.attempt import Broken, Rendered
from distren.worker.hand import Ending, Holding

log = logging.getLogger(__name__)

_MOST_WARNINGS, _LONGEST_WARNING = 20, 500
"""lines that an event carries at most, and characters of each"""
OFFER_AGAIN = 10.0
"""seconds without any reading after which an upload is offered again: its server was restarted"""


@dataclass
class _Upload:
    holding: Holding
    rendered: Rendered
    file: Path
    touched: float
    again: float = OFFER_AGAIN

    @property
    def is_called_off(self) -> bool:
        return self.holding.ending is Ending.CALLED_OFF


class Results:
    """The outgoing side of a worker. Thread-safe.

    `on_settled(holding)` is called once the broker has the event, or nobody wants the result any more.
    """

    def __init__(
        self,
        link: Link,
        *,
        worker: str,
        reply_queue: str,
        on_settled: Callable[[Holding], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._worker, self._reply_queue = link, worker, reply_queue
        self._on_settled, self._clock = on_settled, clock
        self._lock = threading.Lock()
        self._uploads: dict[str, list[_Upload]] = {}
        self._unsent: list[tuple[Holding, Message]] = []

    # -- events that may be lost -------------------------------------------------------------------------------------

    def started(self, holding: Holding) -> None:
        holding.announced = True
        self._tell(Started(**self._about(holding)))

    def progress(self, holding: Holding, percent: float) -> None:
        self._tell(Progress(percent=min(max(percent, 0.0), 100.0), **self._about(holding)))

    # -- events that must arrive -------------------------------------------------------------------------------------

    def failed(self, holding: Holding, broken: Broken) -> None:
        """Report that the attempt has failed."""
        event = Failed(
            reason=broken.reason,
            permanent=broken.permanent,
            seconds=broken.seconds,
            log=broken.log,
            memory=broken.memory,
            processor=broken.processor,
            **self._about(holding),
        )
        self._send(holding, event)

    def completed(self, holding: Holding, rendered: Rendered) -> None:
        """Report the result; its file, if it is in one, has to stay until `on_settled`."""
        if isinstance(rendered.tarball, bytes):
            self._send(holding, self._completion(holding, rendered, rendered.tarball))
            return
        upload = _Upload(holding, rendered, rendered.tarball, self._clock())
        with self._lock:
            self._uploads.setdefault(rendered.blob.digest, []).append(upload)
        self._offer(rendered.blob)

    def tick(self) -> None:
        """Repeat what found no taker; to be called about once a second."""
        with self._lock:
            unsent, self._unsent = self._unsent, []
        for holding, event in unsent:
            self._send(holding, event)
        for holding in self._called_off():
            self._on_settled(holding)
        for blob in self._silent():
            self._offer(blob)

    # -- uploads -----------------------------------------------------------------------------------------------------

    @property
    def uploading(self) -> int:
        """How many results are being uploaded."""
        with self._lock:
            return sum(len(uploads) for uploads in self._uploads.values())

    def path(self, digest: str) -> Path | None:
        """Where the bytes of a blob lie that we have offered."""
        with self._lock:
            uploads = self._uploads.get(digest)
            if not uploads:
                return None
            for upload in uploads:
                upload.touched, upload.again = self._clock(), OFFER_AGAIN
            return uploads[0].file

    def on_wanted(self, delivery: Delivery, message: wire.Wanted) -> None:
        """The server says what it lacks of an offer, whose correlation id is the digest; it may lack nothing."""
        digest = delivery.correlation_id or ""
        if all(blob.digest != digest for blob in message.missing):
            self._stored(digest)

    def on_stored(self, delivery: Delivery, message: wire.Stored) -> None:
        self._stored(message.digest)

    def _stored(self, digest: str) -> None:
        for upload in self._take(digest):
            self._send(upload.holding, self._completion(upload.holding, upload.rendered, None))

    def on_refused(self, delivery: Delivery, message: wire.Refused) -> None:
        if message.again or message.full:
            return  # `tick` offers it again: a frame that is rendered is not given up for want of room
        for upload in self._take(message.digest):
            rendered = upload.rendered
            reason = f"the server refused the result: {message.reason}"
            self.failed(upload.holding, Broken(reason=reason, seconds=rendered.seconds, log=rendered.log))

    def _take(self, digest: str) -> list[_Upload]:
        with self._lock:
            return self._uploads.pop(digest, [])

    def _silent(self) -> list[Blob]:
        """Blobs that nobody has read for long."""
        now, found = self._clock(), []
        with self._lock:
            for uploads in self._uploads.values():
                first = uploads[0]
                if now - first.touched > first.again:
                    first.touched, first.again = now, OFFER_AGAIN
                    found.append(first.rendered.blob)
        return found

    def _called_off(self) -> list[Holding]:
        """Give up the uploads that nobody wants any more."""
        with self._lock:
            dropped = [one for uploads in self._uploads.values() for one in uploads if one.is_called_off]
            kept = {
                digest: [one for one in uploads if not one.is_called_off] for digest, uploads in self._uploads.items()
            }
            self._uploads = {digest: uploads for digest, uploads in kept.items() if uploads}
        return [one.holding for one in dropped]

    def _offer(self, blob: Blob) -> None:
        offer = wire.Offer(blobs=[WireBlob.of(blob)])
        message = Outgoing(
            exchange=DEFAULT,
            key=BLOBS,
            body=offer.encode(),
            reply_to=self._reply_queue,
            correlation_id=blob.digest,
            persistent=False,
            type=offer.type,
        )

        def done(error: DistrenError | None) -> None:
            if error is not None:
                log.debug("an offer found no server: %s", error)
                self._offer_soon(blob)

        self._link.publish(message, done)

    def _offer_soon(self, blob: Blob) -> None:
        with self._lock:
            for upload in self._uploads.get(blob.digest, []):
                upload.again = 0.0

    # -- sending -----------------------------------------------------------------------------------------------------

    def _about(self, holding: Holding) -> dict[str, Any]:
        render = holding.render
        return {
            "worker": self._worker,
            "job": render.job,
            "frame": render.frame,
            "issue": render.issue,
            "token": holding.token,
            "started": holding.started,
        }

    def _completion(self, holding: Holding, rendered: Rendered, tarball: bytes | None) -> Completed:
        return Completed(
            result=WireBlob.of(rendered.blob),
            tarball=tarball,
            seconds=rendered.seconds,
            log=rendered.log,
            memory=rendered.memory,
            processor=rendered.processor,
            warnings=[warning[:_LONGEST_WARNING] for warning in rendered.warnings[:_MOST_WARNINGS]],
            **self._about(holding),
        )

    def _send(self, holding: Holding, event: Message) -> None:
        message = Outgoing(exchange=EVENTS, key=event.type, body=event.encode(), type=event.type)
        failpoints.reach("worker.publish.before")
        self._link.publish(message, partial(self._sent, holding, event))
        failpoints.reach("worker.publish.after")

    def _sent(self, holding: Holding, event: Message, error: DistrenError | None) -> None:
        if error is None:
            failpoints.reach("worker.confirm.before")
            self._on_settled(holding)
            return
        if not isinstance(error, BrokerUnavailable):
            log.warning("a result waits, as no server has ever run on this broker: %s", error)
        with self._lock:
            self._unsent.append((holding, event))

    def _tell(self, event: Message) -> None:
        if self._link.blocked is not None:
            return  # it may be lost, and would only wait in memory
        message = Outgoing(exchange=EVENTS, key=event.type, body=event.encode(), persistent=False, type=event.type)
        self._link.publish(message)
