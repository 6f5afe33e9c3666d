"""Hands a seed in: its files first, then the job that names them."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distren import failpoints
from distren.amqp.blobs import BlobSender
from distren.client.connection import ServerConnection
from distren.client.seed import Seed, blob_of
from distren.domain.job import Blob
from distren.errors import DecodeError, DistrenError
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.codec import Message
from distren.wire.jobs import Submit, Submitted
from distren.wire.peers import Forwarding

_WORTH_A_THREAD = 2**20
"""bytes of a scene file; a smaller one is sent in a few milliseconds"""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """How far an upload is, in bytes: of all files of the job, of those that the server lacked, of those sent."""

    total_bytes: int = 0
    missing_bytes: int = 0
    sent_bytes: int = 0


OnUpload = Callable[[Upload], None]


class Ahead:
    """Sends a large scene file while it is read: Blender takes a second and more to say what else belongs to it.

    Where the job comes to nothing, the server keeps the file no longer than others that nobody wants.
    """

    def __init__(self, sender: BlobSender, on_upload: OnUpload | None) -> None:
        self._sender, self._on_upload = sender, on_upload
        self._thread: threading.Thread | None = None
        self._failure: DistrenError | None = None
        self._sent: dict[str, int] = {}

    def begin(self, scene: Path) -> None:
        """Send the file in a thread of its own, where it is large enough for that."""
        with suppress(OSError):  # whoever reads it says so
            if scene.stat().st_size >= _WORTH_A_THREAD:
                self._thread = threading.Thread(target=self._send, args=(scene,), name="sends the scene", daemon=True)
                self._thread.start()

    def end(self) -> Mapping[str, int]:
        """Wait until it is there; the bytes that were sent, by digest. Raises what hand_in does."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._sent

    def _send(self, scene: Path) -> None:
        def tell(sent: int, missing: int) -> None:
            if self._on_upload is not None:
                self._on_upload(Upload(total_bytes=blob.size, missing_bytes=missing, sent_bytes=sent))

        try:
            blob = blob_of(scene)
            self._sent[blob.digest] = self._sender.offer_all([(blob, scene)], on_bytes=tell).sent_bytes
        except DistrenError as error:
            self._failure = error


def hand_in(
    connection: ServerConnection, sender: BlobSender, seed: Seed, ahead: Ahead, on_upload: OnUpload | None
) -> Submitted:
    """Have the server store what it lacks of the seed, after what was sent `ahead`; then have it take the job.

    The request carries a random key: sent twice, because a reply was lost, it still makes one job. Raises NoAnswer,
    TransferError, and what the server refuses the job with.
    """
    sources, sizes = seed.blobs(), {file.blob.digest: file.blob.size for file in seed.inputs}
    manifest = seed.manifest()[1]
    sizes[manifest.digest] = manifest.size
    total = sum(sizes.values())
    with tempfile.TemporaryDirectory(prefix="distren-submit-") as folder:
        store = BlobStore(Path(folder), durable=False)
        files = [(Blob(digest=digest, size=sizes[digest]), _path(source, store)) for digest, source in sources.items()]

        def tell(sent: int, missing: int) -> None:
            if on_upload is not None:
                on_upload(Upload(total_bytes=total, missing_bytes=before + missing, sent_bytes=before + sent))

        before = sum(sent for digest, sent in ahead.end().items() if digest in sizes)
        failpoints.reach("client.offer.before")
        report = sender.offer_all(files, on_bytes=tell)
        tell(report.sent_bytes, report.sent_bytes)
        failpoints.reach("client.submit.before")
        submit = Submit(manifest=fields.Blob.of(manifest), key=secrets.token_hex(16))
        reply = connection.ask(submit, Submitted) if connection.peer is None else _handed_on(connection, submit, tell)
        failpoints.reach("client.submit.after")
        return reply


def _handed_on(connection: ServerConnection, submit: Submit, tell: Callable[[int, int], None]) -> Submitted:
    """Wait until the server has handed the job on to its peer; it says how far it is."""
    while True:
        reply = connection.ask(submit, Message)
        if isinstance(reply, Submitted):
            return reply
        if not isinstance(reply, Forwarding):
            raise DecodeError(f"the server answered {submit.type} with {reply.type}")
        tell(reply.sent, reply.missing)


def _path(source: Path | bytes, store: BlobStore) -> Path:
    """Where the bytes can be read while they travel."""
    return store.path(store.put(source).digest) if isinstance(source, bytes) else source
