"""Blobs on their way: a sender offers them, the server pulls what it lacks (see blob_receiver and blob_holder)."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distren.amqp.blob_holder import BlobHolder
from distren.amqp.blob_receiver import PATIENCE, BlobReceiver
from distren.amqp.link import Delivery
from distren.amqp.mailbox import Mailbox
from distren.amqp.publisher import Carrier, Outgoing
from distren.amqp.topology import BLOBS, DEFAULT
from distren.domain.job import Blob
from distren.errors import DistrenError, NoAnswer, NotFound, TransferError
from distren.wire import fields
from distren.wire.blobs import Offer, Read, Refused, Stored, Wanted

__all__ = ["BlobHolder", "BlobReceiver", "BlobSender", "UploadReport"]

_PAGE = 2_000
"""blobs in one offer; the first are on their way while the server looks at the next page"""
_OFFER_AGAIN = 5.0
"""seconds of the server's silence after which the offer counts as lost"""
_REFUSALS = 5
"""times that one blob may be refused before the upload is given up"""
_LONG = 600.0
"""seconds of an upload after which the server is told once more of all that is wanted: it keeps no blob for ever"""
OnBytes = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """What an upload came to: bytes of all blobs, bytes that had to travel, and files that these belong to."""

    total_bytes: int
    sent_bytes: int
    files_sent: int


class _Upload:
    """One call of `offer_all`: which blobs the server has not yet said to be stored."""

    def __init__(self, blobs: Iterable[Blob], on_bytes: OnBytes | None) -> None:
        self.waiting = {blob.digest: blob for blob in blobs}
        self.total = sum(blob.size for blob in self.waiting.values())
        self.offers: dict[str, list[Blob]] = {}
        self.changed = threading.Condition()
        self.heard = time.monotonic()
        self.again: set[str] = set()
        self.failure: DistrenError | None = None
        self._wanted: set[str] = set()
        self._to_send = 0
        self._refusals: dict[str, int] = {}
        self._sent = 0
        self._on_bytes = on_bytes

    def report(self) -> UploadReport:
        return UploadReport(total_bytes=self.total, sent_bytes=self._to_send, files_sent=len(self._wanted))

    def wanted(self, offer: str, wanted: Wanted) -> None:
        page = self.offers.pop(offer, [])
        missing = {blob.digest: have for blob, have in zip(wanted.missing, wanted.have, strict=False)}
        with self._change():
            for blob in page:
                if blob.digest not in missing:
                    self.waiting.pop(blob.digest, None)
                elif blob.digest not in self._wanted:
                    self._wanted.add(blob.digest)
                    self._to_send += max(0, blob.size - missing[blob.digest])

    def stored(self, digest: str) -> None:
        with self._change():
            self.waiting.pop(digest, None)

    def refused(self, refused: Refused) -> None:
        with self._change():
            if refused.digest not in self.waiting:
                return
            times = self._refusals[refused.digest] = self._refusals.get(refused.digest, 0) + 1
            if refused.again and times < _REFUSALS:
                self.again.add(refused.digest)
            else:
                self.fail(TransferError(f"the server refuses {refused.digest[:12]}: {refused.reason}"))

    def sent(self, digest: str, size: int) -> None:
        if digest in self._wanted:
            self.heard = time.monotonic()
            self._sent += size
            if self._on_bytes is not None:
                self._on_bytes(min(self._sent, self._to_send), self._to_send)

    def fail(self, error: DistrenError) -> None:
        with self.changed:
            self.failure = error
            self.changed.notify_all()

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self.changed:
            self.heard = time.monotonic()
            yield
            self.changed.notify_all()


class BlobSender:
    """Offers files to the server and serves its reads; one for each mailbox, used from any number of threads."""

    def __init__(self, link: Carrier, mailbox: Mailbox, reply_queue: str) -> None:
        self._link, self._reply_queue = link, reply_queue
        self._lock = threading.Lock()
        self._uploads: list[_Upload] = []
        self._paths: dict[str, list[Path]] = {}
        self._holder = BlobHolder(link, self._path, on_sent=self._on_sent)
        mailbox.on(Read, self._holder.answer)
        mailbox.on(Wanted, self._on_wanted)
        mailbox.on(Stored, lambda _, stored: self._tell(lambda upload: upload.stored(stored.digest)))
        mailbox.on(Refused, lambda _, refused: self._tell(lambda upload: upload.refused(refused)))

    def offer_all(
        self,
        files: Iterable[tuple[Blob, Path]],
        *,
        on_bytes: OnBytes | None = None,
        timeout: float = PATIENCE,
    ) -> UploadReport:
        """Have the server store the files, and wait until it has; blobs that it has already do not travel.

        `on_bytes` is told, in the link's thread, the bytes that were sent and the bytes that are to be sent.
        Raises NoAnswer when the server is silent for `timeout` seconds, TransferError for what it refuses.
        """
        files, began = list(files), time.monotonic()
        report = self._store_all(files, on_bytes, timeout)
        if time.monotonic() - began > _LONG:
            self._store_all(files, None, timeout)  # what has lain there for long is wanted still
        return report

    def _store_all(self, files: list[tuple[Blob, Path]], on_bytes: OnBytes | None, timeout: float) -> UploadReport:
        upload = _Upload((blob for blob, _ in files), on_bytes)
        with self._serving(files, upload):
            self._offer(upload, list(upload.waiting.values()))
            session, offered = self._link.session, time.monotonic()
            while self._under_way(upload):
                now = time.monotonic()
                if now - upload.heard > timeout:
                    raise NoAnswer(f"the server did not take the files within {timeout:.0f} s: is it running?")
                silent = now - max(upload.heard, offered) > _OFFER_AGAIN
                if silent or session != self._link.session or upload.again:
                    self._offer_again(upload, everything=silent or session != self._link.session)
                    session, offered = self._link.session, now
        return upload.report()

    def close(self) -> None:
        self._holder.close()

    @staticmethod
    def _under_way(upload: _Upload) -> bool:
        """Wait a moment for news; False when all is stored. Raises what made the upload fail."""
        with upload.changed:
            upload.changed.wait_for(lambda: not upload.waiting or upload.failure is not None, 0.5)
            if upload.failure is not None:
                raise upload.failure
            return bool(upload.waiting)

    def _offer_again(self, upload: _Upload, *, everything: bool) -> None:
        with upload.changed:
            again = [blob for digest, blob in upload.waiting.items() if everything or digest in upload.again]
            upload.again.clear()
        self._offer(upload, again)

    def _offer(self, upload: _Upload, blobs: list[Blob]) -> None:
        def published(error: DistrenError | None) -> None:
            if isinstance(error, NotFound):
                upload.fail(NoAnswer("no server has ever run on this broker: start one with 'distren up'"))

        for start in range(0, len(blobs), _PAGE):
            page, key = blobs[start : start + _PAGE], uuid.uuid4().hex
            upload.offers[key] = page
            offer = Offer(blobs=[fields.Blob.of(blob) for blob in page])
            outgoing = Outgoing(
                exchange=DEFAULT,
                key=BLOBS,
                body=offer.encode(),
                reply_to=self._reply_queue,
                correlation_id=key,
                persistent=False,
                type=offer.type,
            )
            self._link.publish(outgoing, published)

    @contextmanager
    def _serving(self, files: list[tuple[Blob, Path]], upload: _Upload) -> Iterator[None]:
        """Answer reads of `files`; another upload may offer the same bytes from another file."""
        with self._lock:
            self._uploads = [*self._uploads, upload]
            for blob, path in files:
                self._paths.setdefault(blob.digest, []).append(path)
        try:
            yield
        finally:
            with self._lock:
                self._uploads = [other for other in self._uploads if other is not upload]
                for blob, path in files:
                    self._paths[blob.digest].remove(path)
                    if not self._paths[blob.digest]:
                        del self._paths[blob.digest]

    def _path(self, digest: str) -> Path | None:
        with self._lock:
            paths = self._paths.get(digest)
            return paths[0] if paths else None

    def _tell(self, news: Callable[[_Upload], None]) -> None:
        for upload in self._uploads:
            news(upload)

    def _on_wanted(self, delivery: Delivery, wanted: Wanted) -> None:
        key = delivery.correlation_id or ""
        self._tell(lambda upload: upload.wanted(key, wanted) if key in upload.offers else None)

    def _on_sent(self, digest: str, size: int) -> None:
        self._tell(lambda upload: upload.sent(digest, size))
