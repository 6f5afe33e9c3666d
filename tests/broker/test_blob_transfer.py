"""Blobs travel between real processes' parts over a real broker."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from waiting import PATIENCE, wait_for

from distren.amqp import topology
from distren.amqp.blobs import BlobReceiver, BlobSender
from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.mailbox import Mailbox
from distren.amqp.publisher import Outgoing
from distren.domain.job import Blob
from distren.errors import NoAnswer, NotFound, TransferError
from distren.server.blobs import BlobService
from distren.storage.blobstore import BlobStore
from distren.wire import fields
from distren.wire.blobs import CHUNK, Gone, Offer, Piece, Read, Refused, Stored, Wanted
from distren.wire.codec import Message, decode

MANY = os.urandom(5 * CHUNK + 17) * 5
"""more than a window, and no whole number of pieces"""


def blob_of(data: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))


class Party:
    """A process with a queue of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        queue = topology.client_queue(uuid.uuid4().hex)
        self.queue = queue.name
        self.link = Link(url, name="party", queues=[queue])
        self.mailbox = Mailbox(queue.name)
        self.store = BlobStore(folder, durable=False)
        self.receiver = BlobReceiver(self.link, self.mailbox, self.queue, self.store)
        self.sender = BlobSender(self.link, self.mailbox, self.queue)
        self.link.consume(self.mailbox.consumer())
        self.link.start()

    def close(self) -> None:
        self.sender.close()
        self.link.close()


class Puppet:
    """A sender that does what the test says; whatever reaches it is in `heard`."""

    def __init__(self, url: str) -> None:
        queue = topology.client_queue(uuid.uuid4().hex)
        self.queue = queue.name
        self.heard: list[Message] = []
        self.on_read: Callable[[str, Read], None] = lambda queue, read: None
        self.link = Link(url, name="puppet", queues=[queue])
        self.link.consume(Consumer(queue=self.queue, tag="p", on_delivery=self._hear, automatic=True))
        self.link.start()

    def _hear(self, delivery: Delivery) -> None:
        message = decode(delivery.body)
        self.heard.append(message)
        if isinstance(message, Read):
            self.on_read(delivery.reply_to or "", message)

    def say(self, message: Message, queue: str = topology.BLOBS) -> None:
        self.link.publish(
            Outgoing(exchange="", key=queue, body=message.encode(), reply_to=self.queue, persistent=False)
        )

    def offer(self, *blobs: Blob) -> None:
        self.say(Offer(blobs=[fields.Blob.of(blob) for blob in blobs]))

    def send(self, queue: str, digest: str, offset: int, data: bytes) -> None:
        label = Piece(digest=digest, offset=offset, data=data).label
        self.link.publish(
            Outgoing(exchange="", key=queue, body=data, correlation_id=label, persistent=False, type=Piece.type)
        )

    def answer(self, data: bytes, queue: str, read: Read) -> None:
        for offset in range(read.offset, min(read.offset + read.length, len(data)), CHUNK):
            self.send(queue, read.digest, offset, data[offset : min(offset + CHUNK, read.offset + read.length)])

    def await_one(self, kind: type[Message]) -> Message:
        wait_for(lambda: any(isinstance(message, kind) for message in self.heard))
        return next(message for message in self.heard if isinstance(message, kind))


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "server")


@pytest.fixture
def start_server(vhost_url: str, store: BlobStore, ending: ExitStack) -> Callable[[], BlobService]:
    def start() -> BlobService:
        service = BlobService(vhost_url, "alpha", store, patience=3)
        service.start()
        ending.callback(service.stop)
        return service

    return start


@pytest.fixture
def server(start_server: Callable[[], BlobService]) -> BlobService:
    return start_server()


@pytest.fixture
def new_party(vhost_url: str, tmp_path: Path, ending: ExitStack) -> Callable[..., Party]:
    def make(folder: str = "") -> Party:
        party = Party(vhost_url, tmp_path / (folder or uuid.uuid4().hex))
        ending.callback(party.close)
        return party

    return make


@pytest.fixture
def puppet(vhost_url: str, server: BlobService, ending: ExitStack) -> Puppet:
    made = Puppet(vhost_url)
    ending.callback(made.link.close)
    return made


def file_of(data: bytes, folder: Path) -> tuple[Blob, Path]:
    blob = blob_of(data)
    path = folder / f"file-{blob.digest[:8]}"
    path.write_bytes(data)
    return blob, path


def partial_files(store: BlobStore) -> list[Path]:
    return list((store.folder / "partial").iterdir())


# -- the usual way ---------------------------------------------------------------------------------------------------


def test_files_reach_the_server_and_then_a_worker(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    client, worker = new_party(), new_party()
    files = [file_of(data, tmp_path) for data in (MANY, b"", b"x", MANY[:CHUNK], MANY[: CHUNK + 1])]
    told: list[tuple[int, int]] = []
    report = client.sender.offer_all(files, on_bytes=lambda sent, whole: told.append((sent, whole)))
    size = sum(blob.size for blob, _ in files)
    assert (report.total_bytes, report.sent_bytes, report.files_sent) == (size, size, 5)
    assert told[-1] == (size, size)
    for blob, path in files:
        assert store.path(blob.digest).read_bytes() == path.read_bytes()
        counted: list[int] = []
        assert worker.receiver.fetch(blob, on_bytes=counted.append).read_bytes() == path.read_bytes()
        assert sum(counted) == blob.size
    assert not partial_files(store)


def test_what_the_server_has_does_not_travel_again(
    server: BlobService, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    client = new_party()
    client.sender.offer_all([file_of(b"one", tmp_path)])
    report = client.sender.offer_all([file_of(b"one", tmp_path), file_of(b"three", tmp_path)])
    assert (report.total_bytes, report.sent_bytes, report.files_sent) == (8, 5, 1)


def test_thousands_of_small_files_arrive(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    files = [file_of(b"%d" % number, tmp_path) for number in range(2_500)]
    report = new_party().sender.offer_all(files)
    assert report.files_sent == 2_500
    assert all(store.has(blob.digest) for blob, _ in files)


def test_two_uploads_of_the_same_bytes_transfer_once(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    file = file_of(MANY, tmp_path)
    sent = [0, 0]
    parties = [new_party(), new_party()]

    def upload(number: int) -> None:
        parties[number].sender.offer_all([file])

    for number, party in enumerate(parties):
        count_pieces(party, sent, number)
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(upload, range(2)))
    assert store.has(file[0].digest)
    assert sum(sent) == file[0].size


def count_pieces(party: Party, sent: list[int], number: int) -> None:
    """Count the bytes of the pieces that `party` publishes."""
    publish = party.link.publish

    def counting(message: Outgoing, *more: object) -> None:
        if message.type == Piece.type:
            sent[number] += len(message.body)
        publish(message, *more)  # type: ignore[arg-type]

    party.link.publish = counting  # type: ignore[assignment, method-assign]


def test_several_fetches_on_one_host_share_one_transfer(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party]
) -> None:
    blob = store.put(MANY)
    workers = [new_party("cache") for _ in range(4)]
    counted: list[int] = []
    with ThreadPoolExecutor(4) as executor:
        paths = list(
            executor.map(lambda worker: worker.receiver.fetch(blob, on_bytes=counted.append, timeout=60), workers)
        )
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == MANY
    assert sum(counted) == blob.size


def test_several_blobs_are_fetched_at_a_time(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party]
) -> None:
    blobs = [store.put(MANY[: n * 100_000]) for n in range(1, 41)]
    worker = new_party()
    with ThreadPoolExecutor(8) as executor:
        paths = list(executor.map(worker.receiver.fetch, blobs))
    assert [path.stat().st_size for path in paths] == [blob.size for blob in blobs]


# -- interruptions ---------------------------------------------------------------------------------------------------


def test_an_upload_resumes_where_it_stopped(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    blob, path = file_of(MANY, tmp_path)
    partial = store.open_partial(blob)
    assert partial is not None
    partial.write(MANY[: 3 * CHUNK + 5])
    partial.close()
    report = new_party().sender.offer_all([(blob, path)])
    assert report.sent_bytes == len(MANY) - 3 * CHUNK - 5
    assert store.path(blob.digest).read_bytes() == MANY


def test_the_server_gives_up_a_silent_sender_and_keeps_what_came(puppet: Puppet, store: BlobStore) -> None:
    blob = blob_of(MANY)
    puppet.on_read = lambda queue, read: puppet.answer(MANY[: 2 * CHUNK], queue, read)
    puppet.offer(blob)
    refused = puppet.await_one(Refused)
    assert isinstance(refused, Refused)
    assert refused.again
    assert store.partial_size(blob.digest) == 2 * CHUNK
    assert not store.has(blob.digest)


def test_a_sender_that_leaves_is_noticed_and_another_takes_over(
    puppet: Puppet, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    blob, path = file_of(MANY, tmp_path)
    puppet.on_read = lambda queue, read: puppet.answer(MANY[: 2 * CHUNK], queue, read)
    puppet.offer(blob)
    wait_for(lambda: store.partial_size(blob.digest) == 2 * CHUNK)
    puppet.link.close()
    report = new_party().sender.offer_all([(blob, path)])
    assert report.sent_bytes == len(MANY) - 2 * CHUNK
    assert store.path(blob.digest).read_bytes() == MANY


def test_a_server_that_restarts_in_mid_upload_is_offered_the_rest(
    start_server: Callable[[], BlobService], store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    first = start_server()
    client = new_party()
    data = os.urandom(CHUNK) * 200
    blob, path = file_of(data, tmp_path)
    half_way, stopped = threading.Event(), threading.Event()

    def wait_half_way(sent: int, whole: int) -> None:
        if sent > 20 * CHUNK:
            half_way.set()
            stopped.wait(PATIENCE)

    with ThreadPoolExecutor(1) as executor:
        upload = executor.submit(client.sender.offer_all, [(blob, path)], on_bytes=wait_half_way)
        assert half_way.wait(PATIENCE)
        first.stop()
        assert not store.has(blob.digest)
        assert store.partial_size(blob.digest) > 0
        start_server()
        stopped.set()
        upload.result(PATIENCE)
    assert store.path(blob.digest).read_bytes() == data


def test_no_server_at_all_is_said_at_once(vhost_url: str, new_party: Callable[..., Party], tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match="no server"):
        new_party().sender.offer_all([file_of(b"x", tmp_path)])
    with pytest.raises(NoAnswer):
        new_party().receiver.fetch(blob_of(b"x"))


def test_a_stopped_server_is_waited_for_in_vain(
    start_server: Callable[[], BlobService], new_party: Callable[..., Party], tmp_path: Path
) -> None:
    start_server().stop()
    with pytest.raises(NoAnswer, match="is it running"):
        new_party().sender.offer_all([file_of(b"x", tmp_path)], timeout=1)


# -- hostile and broken parties --------------------------------------------------------------------------------------


def test_wrong_bytes_are_refused_and_removed(puppet: Puppet, store: BlobStore) -> None:
    blob = blob_of(b"right")
    puppet.on_read = lambda queue, read: puppet.answer(b"wrong", queue, read)
    puppet.offer(blob)
    refused = puppet.await_one(Refused)
    assert isinstance(refused, Refused)
    assert not refused.again
    assert not store.has(blob.digest)
    assert not partial_files(store)


def test_the_wrong_size_of_a_stored_blob_is_refused(puppet: Puppet, store: BlobStore) -> None:
    blob = store.put(b"right")
    puppet.offer(Blob(digest=blob.digest, size=4))
    refused = puppet.await_one(Refused)
    assert isinstance(refused, Refused)
    assert store.path(blob.digest).read_bytes() == b"right"


def test_pieces_out_of_order_twice_and_beside_the_point_do_no_harm(puppet: Puppet, store: BlobStore) -> None:
    blob = blob_of(MANY)

    def answer(queue: str, read: Read) -> None:
        puppet.send(queue, read.digest, 2**50, MANY[:CHUNK])
        puppet.send(queue, read.digest, read.offset + 1, MANY[:CHUNK])
        puppet.send(queue, read.digest, read.offset, b"short")
        puppet.send(queue, "0" * 64, read.offset, MANY[:CHUNK])
        puppet.send(queue, read.digest, read.offset, MANY[read.offset : read.offset + CHUNK])
        puppet.send(queue, read.digest, read.offset, bytes(min(CHUNK, len(MANY) - read.offset)))
        puppet.link.publish(Outgoing(exchange="", key=queue, body=b"junk", persistent=False, type=Piece.type))
        puppet.link.publish(Outgoing(exchange="", key=queue, body=b"junk", persistent=False))
        offsets = range(read.offset, read.offset + read.length, CHUNK)
        for offset in reversed(offsets):
            puppet.send(queue, read.digest, offset, MANY[offset : min(offset + CHUNK, read.offset + read.length)])

    puppet.on_read = answer
    puppet.offer(blob)
    puppet.await_one(Stored)
    assert store.path(blob.digest).read_bytes() == MANY


def test_a_blob_that_no_disk_can_hold_is_refused_with_the_reason(puppet: Puppet, store: BlobStore) -> None:
    puppet.offer(Blob(digest="0" * 64, size=2**53))
    refused = puppet.await_one(Refused)
    assert isinstance(refused, Refused)
    assert "no room" in refused.reason
    assert not refused.again


def test_requests_that_can_not_be_understood_change_nothing(puppet: Puppet, store: BlobStore) -> None:
    for body in (b"", b"junk", b"\x81\xa4type\xa4none"):
        puppet.link.publish(Outgoing(exchange="", key=topology.BLOBS, body=body, reply_to=puppet.queue))
    puppet.say(Stored(digest="0" * 64))
    puppet.link.publish(Outgoing(exchange="", key=topology.BLOBS, body=Offer(blobs=[]).encode()))
    puppet.offer()
    wanted = puppet.await_one(Wanted)
    assert isinstance(wanted, Wanted)
    assert not wanted.missing


def test_a_blob_that_the_server_lacks_is_said_to_be_gone(server: BlobService, new_party: Callable[..., Party]) -> None:
    worker = new_party()
    with pytest.raises(NotFound):
        worker.receiver.fetch(blob_of(MANY))
    assert not partial_files(worker.store)


def test_a_read_beyond_the_end_is_answered_with_gone(puppet: Puppet, store: BlobStore) -> None:
    blob = store.put(b"x")
    puppet.say(Read(digest=blob.digest, offset=2**52, length=1))
    assert isinstance(puppet.await_one(Gone), Gone)


def test_a_file_that_changed_since_it_was_offered_is_refused(
    server: BlobService, store: BlobStore, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    blob, path = file_of(MANY, tmp_path)
    path.write_bytes(MANY[1:] + b"x")
    with pytest.raises(TransferError, match="refuses"):
        new_party().sender.offer_all([(blob, path)])
    assert not store.has(blob.digest)


def test_a_file_that_went_away_since_it_was_offered_is_refused(
    server: BlobService, new_party: Callable[..., Party], tmp_path: Path
) -> None:
    blob, path = file_of(b"soon gone", tmp_path)
    path.unlink()
    with pytest.raises(TransferError, match="can not be read"):
        new_party().sender.offer_all([(blob, path)])


def test_a_receiver_that_leaves_does_not_hold_up_others(
    server: BlobService, store: BlobStore, vhost_url: str, puppet: Puppet, new_party: Callable[..., Party]
) -> None:
    blob = store.put(MANY)
    for offset in range(0, 16 * CHUNK, CHUNK):
        puppet.say(Read(digest=blob.digest, offset=offset, length=8 * CHUNK))
    puppet.link.close()
    assert new_party().receiver.fetch(blob).read_bytes() == MANY
