"""Bytes between two brokers: verified, only what is missing, and on where they were when the line comes back."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Broker
from sites import Site, Two, pair
from trials.proxy import Proxy
from waiting import PATIENCE, wait_for

from distren.amqp.blobs import BlobSender
from distren.broker.private import PrivateBroker
from distren.client.connection import Connection
from distren.domain.job import Blob
from distren.errors import Conflict, JobFileError, NotFound, TransferError
from distren.server import handover
from distren.storage.blobstore import BlobStore
from distren.wire import fields as wire
from distren.wire.codec import Message
from distren.wire.jobs import Manifest, ManifestFile, Submit, Submitted
from distren.wire.peers import Forwarding

SIZE = 24 * 2**20


@pytest.fixture(scope="module")
def two(
    soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker, line: Proxy
) -> Iterator[Two]:
    """Two peers; the brokers' only way to each other is `line`."""
    place, quota = f"127.0.0.1:{line.port}", {"peer_jobs": 2, "peer_upload": 2 * SIZE}
    with pair(tmp_path_factory.mktemp("sites"), other_broker, broker, place, **quota) as made:
        yield made


def stored(at: Site, size: int = SIZE) -> Blob:
    data = os.urandom(size)
    BlobStore(at.settings.blobs).put(data)
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=size)


class Fetch:
    """A fetch of a blob in a thread of its own; `bytes` is what has come so far."""

    def __init__(self, to: Site, source: Site, blob: Blob) -> None:
        self.bytes, self.result, self.error = 0, None, None
        self._to, self._source, self._blob = to, source, blob
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            desk = self._to.server.federation.fetcher(self._source.name)
            self.result = desk.receiver.fetch(self._blob, on_bytes=self._count, timeout=PATIENCE)
        except Exception as error:
            self.error = error

    def _count(self, count: int) -> None:
        self.bytes += count

    def finished(self) -> Path:
        self._thread.join(PATIENCE)
        if self.error is not None:
            raise self.error
        assert self.result is not None, f"{self.bytes} of {self._blob.size} bytes came"
        return self.result


@pytest.mark.parametrize("down", [True, False])
def test_a_blob_passes_both_ways_and_is_verified(two: Two, down: bool) -> None:
    source, to = two if down else reversed(two)
    blob = stored(source)
    path = Fetch(to, source, blob).finished()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == blob.digest
    wait_for(lambda: not any(source.waiting(to.name).values()) and not any(to.waiting(source.name).values()))


def test_what_a_peer_does_not_have_is_said_at_once(two: Two) -> None:
    alpha, beta = two
    with pytest.raises(NotFound, match="can not be had"):
        Fetch(alpha, beta, Blob(digest="0" * 64, size=5)).finished()


def test_a_job_of_a_peer_that_takes_long_to_examine_is_refused_and_keeps_nobody_waiting(
    two: Two, tmp_path: Path
) -> None:
    """Each frame needs the next one, which takes seconds to look at; and then there is no scene."""
    alpha, beta = two
    inside = b'<frames ids="0-1800000"/><needs frames="0-1799999" each="frame/1-1800000"/>'
    job = b'<job xmlns="urn:distren:job:1" name="slow" renderer="povray">' + inside + b"</job>"
    store, connection = BlobStore(tmp_path), Connection(alpha.url)
    connection.start()
    sender = BlobSender(connection.link, connection.mailbox, connection.queue)
    seed = store.put(job)
    manifest = store.put(
        Manifest(files=[ManifestFile(path="distrenjob.xml", digest=seed.digest, size=seed.size)]).encode()
    )
    submit = Submit(manifest=wire.Blob.of(manifest), key=secrets.token_hex(16))
    answers, over = [], threading.Event()

    def hand_on() -> None:
        while isinstance(connection.ask(submit, Message, PATIENCE, server=beta.name), Forwarding):
            pass

    def ask() -> None:
        with beta.farm() as farm:
            while not over.is_set():
                answers.append(farm.describe(PATIENCE).server)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        sender.offer_all([(blob, store.path(blob.digest)) for blob in (seed, manifest)])
        before = len(answers)
        with pytest.raises(JobFileError, match=r"takes more than|lack scene") as caught:
            hand_on()
        assert "\n" not in str(caught.value)
        assert len(answers) - before > 10
    finally:
        over.set()
        asking.join()
        sender.close()
        connection.close()


@pytest.mark.parametrize("fault", ["cut", "hole"])
def test_a_transfer_goes_on_where_it_was_when_the_line_comes_back(two: Two, line: Proxy, fault: str) -> None:
    alpha, beta = two
    blob = stored(beta, 3 * SIZE)
    fetch = Fetch(alpha, beta, blob)
    wait_for(lambda: fetch.bytes > 4 * 2**20)
    getattr(line, fault)()
    stalled = _stalled(fetch)
    assert stalled < blob.size
    line.heal()
    fetch.finished()
    assert fetch.bytes == blob.size


def _stalled(fetch: Fetch) -> int:
    """How much has come when nothing comes any more: what was under way arrives first."""
    seen: list[int] = []

    def nothing_comes() -> bool:
        seen.append(fetch.bytes)
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    wait_for(nothing_comes)
    return fetch.bytes


def test_more_frames_are_changed_than_one_message_can_name(two: Two, tmp_path: Path) -> None:
    alpha, _ = two
    (tmp_path / "a.pov").write_text("sphere { 0, 1 }")
    with alpha.farm() as farm:
        job = farm.submit(tmp_path / "a.pov", frames="1-30001", width=8, height=8)
        assert job.cancel(range(1, 30_002, 2)).counts == {"ready": 15_000, "cancelled": 15_001}
        with pytest.raises(Conflict, match="among those named"):
            job.cancel(range(1, 30_002, 2))
        assert job.retry([1, 30_001, *range(3, 30_001, 2)]).counts == {"ready": 30_001}
        job.delete(force=True)


def test_a_job_is_handed_over_and_only_what_the_peer_lacks_travels(
    two: Two, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alpha, beta = two
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene/a.pov").write_text('#version 3.7;\n#declare T = "big.inc";\n')
    (tmp_path / "scene/big.png").write_bytes(os.urandom(SIZE // 2))
    with alpha.farm(at=beta.name) as farm:
        job = farm.submit(tmp_path / "scene", frames="1-3", width=8, height=8)
        assert (job.server, job.info().counts) == (beta.name, {"ready": 3})
        assert [one.job for one in farm.jobs()] == [job.id]
        before = _passed(beta, alpha)
        farm.submit(tmp_path / "scene", frames="1-4", width=8, height=8)
        assert _passed(beta, alpha) - before < 2**20
        with pytest.raises(Conflict, match="takes no more than 2 from a peer"):
            farm.submit(tmp_path / "scene", frames="1-5", width=8, height=8)
        job.cancel()
        (tmp_path / "scene/big.png").write_bytes(os.urandom(3 * SIZE))
        with pytest.raises(TransferError, match="quota"):
            farm.submit(tmp_path / "scene", frames="1", width=8, height=8)
        file = next(one for one in job.files() if one.path == "big.png")
        fetched = job.fetch_file(file.file, tmp_path / "back")
        assert fetched.received == file.blob.size
    with alpha.farm() as farm:
        assert list(farm.jobs()) == []
    said = caplog.text  # of the server that refuses: its operator sees it as well
    assert "a peer's request is refused: " in said
    assert f"its quota of {2 * SIZE} bytes for a peer" in said


def test_a_job_whose_answer_is_lost_is_handed_over_once(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, beta = two
    monkeypatch.setattr(handover, "PATIENCE", 1.0)
    (tmp_path / "a.pov").write_text("#version 3.7;\n")
    there, lost = beta.server.federation.member(alpha.name), []
    tell = there.tell

    def lose_the_first(address: str, message: Message, correlation_id: str | None = None) -> None:
        if isinstance(message, Submitted) and not lost:
            lost.append(message.job)
        else:
            tell(address, message, correlation_id)

    with alpha.farm(at=beta.name) as farm:
        before = {one.job: one.state for one in farm.jobs()}
        for number in [number for number, state in before.items() if state == "active"]:
            farm.job(number).cancel()
        first = farm.submit(tmp_path / "a.pov", frames="1", width=8, height=8)  # with the next one, all it may have
        monkeypatch.setattr(there, "tell", lose_the_first)
        job = farm.submit(tmp_path / "a.pov", frames="1", width=8, height=8)
        assert [job.id] == lost
        assert {one.job for one in farm.jobs()} - before.keys() == {first.id, job.id}
        first.cancel()
        job.cancel()


def _passed(here: Site, peer: Site) -> int:
    """Bytes in the blob store of `here`."""
    return sum(path.stat().st_size for path in here.settings.blobs.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_broker_that_is_killed_in_mid_transfer_loses_nothing(
    tmp_path: Path, other_broker: Broker, new_private_broker: Callable[..., PrivateBroker]
) -> None:
    private = new_private_broker("killed")
    known = private.start(foreground=True)
    killed = Broker(
        kind="local",
        amqp_url=known.amqp_url,
        management_url=known.management_url,
        user=known.user,
        password=known.password,
        version="",
    )
    with pair(tmp_path, other_broker, killed) as (alpha, beta):
        blob = stored(beta, 3 * SIZE)
        fetch = Fetch(alpha, beta, blob)
        wait_for(lambda: fetch.bytes > 4 * 2**20)
        private.kill()
        private.start(foreground=True)
        path = fetch.finished()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == blob.digest
        wait_for(lambda: not any(alpha.waiting(beta.name).values()) and not any(beta.waiting(alpha.name).values()))
