"""What a worker sends, and sends again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from distren.amqp.link import Delivery, Link
from distren.amqp.publisher import Done, Outgoing
from distren.amqp.topology import BLOBS
from distren.domain.job import Blob
from distren.errors import DistrenError, NotFound
from distren.wire import blobs as wire
from distren.wire import fields
from distren.wire.codec import Message, decode
from distren.wire.frames import INLINE, Completed, Failed, Render
from distren.worker.attempt import Broken, Rendered
from distren.worker.hand import Ending, Holding
from distren.worker.results import OFFER_AGAIN, Results

DIGEST = "d" * 64


class Paper:
    """A link that only writes down what is published."""

    def __init__(self) -> None:
        self.sent: list[tuple[Outgoing, Done | None]] = []

    def publish(self, message: Outgoing, done: Done | None = None) -> None:
        self.sent.append((message, done))

    def confirm(self, error: DistrenError | None = None) -> None:
        done = self.sent[-1][1]
        assert done is not None
        done(error)

    @property
    def messages(self) -> list[Message]:
        return [decode(message.body) for message, _ in self.sent]


class Desk:
    def __init__(self, folder: Path) -> None:
        self.now, self.link, self.settled = 0.0, Paper(), list[Holding]()
        self.results = Results(
            cast(Link, self.link),
            worker="w",
            reply_queue="worker.w",
            on_settled=self.settled.append,
            clock=lambda: self.now,
        )
        manifest = fields.Blob(digest="0" * 64, size=1)
        render = Render(job=1, frame=2, issue=3, renderer="r", manifest=manifest, first=1, last=9, time_limit=9.0)
        self.holding = Holding(render=render, delivery=None, arrived=0.0)
        self.tarball = folder / "frame.tar"
        self.tarball.write_bytes(b"tar")

    def rendered(self, size: int) -> Rendered:
        tarball = b"tar" if size <= INLINE else self.tarball
        return Rendered(tarball=tarball, blob=Blob(digest=DIGEST, size=size), seconds=1.0, log=b"")

    def hear(self, message: wire.Stored | wire.Refused | wire.Wanted) -> None:
        delivery = Delivery(body=b"", tag=1, session=1, queue="worker.w", correlation_id=DIGEST)
        if isinstance(message, wire.Stored):
            self.results.on_stored(delivery, message)
        elif isinstance(message, wire.Wanted):
            self.results.on_wanted(delivery, message)
        else:
            self.results.on_refused(delivery, message)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_result_counts_as_sent_when_the_broker_confirms_it(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(3))
    assert desk.settled == []
    desk.link.confirm()
    assert desk.settled == [desk.holding]


def test_a_result_that_no_queue_takes_is_sent_again(desk: Desk) -> None:
    desk.results.failed(desk.holding, Broken(reason="it broke"))
    desk.link.confirm(NotFound("no queue"))
    assert desk.settled == []
    desk.results.tick()
    assert [type(message) for message in desk.link.messages] == [Failed, Failed]


def test_a_large_result_is_reported_when_the_server_has_stored_it(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    assert desk.link.sent[0][0].key == BLOBS
    assert desk.results.path(DIGEST) == desk.tarball
    assert desk.results.uploading == 1
    desk.hear(wire.Wanted(missing=[fields.Blob(digest=DIGEST, size=INLINE + 1)], have=[0]))
    assert len(desk.link.sent) == 1
    desk.hear(wire.Stored(digest=DIGEST))
    assert isinstance(desk.link.messages[1], Completed)
    assert desk.results.path(DIGEST) is None


def test_a_large_result_that_the_server_has_already_is_reported_at_once(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.hear(wire.Wanted(missing=[], have=[]))
    assert isinstance(desk.link.messages[1], Completed)


def test_an_offer_that_nobody_takes_up_is_made_again(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.results.tick()
    assert len(desk.link.sent) == 1
    desk.now = OFFER_AGAIN + 1
    desk.results.tick()
    assert [type(message) for message in desk.link.messages] == [wire.Offer, wire.Offer]


def test_an_offer_that_found_no_server_is_made_again_at_the_next_tick(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.link.confirm(NotFound("no queue"))
    desk.now = 1.0
    desk.results.tick()
    assert len(desk.link.sent) == 2


def test_an_upload_that_is_being_read_is_not_offered_again(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.now = OFFER_AGAIN - 1
    desk.results.path(DIGEST)
    desk.now = OFFER_AGAIN + 1
    desk.results.tick()
    assert len(desk.link.sent) == 1


def test_a_result_that_the_server_refuses_for_good_fails_the_attempt(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.hear(wire.Refused(digest=DIGEST, reason="the disk is full", again=True))
    assert len(desk.link.sent) == 1
    desk.hear(wire.Refused(digest=DIGEST, reason="too large", again=False))
    failed = desk.link.messages[1]
    assert isinstance(failed, Failed)
    assert "too large" in failed.reason


def test_a_result_waits_for_room_on_the_disk_of_the_server(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.hear(wire.Refused(digest=DIGEST, reason="no room", again=False, full=True))
    assert len(desk.link.sent) == 1
    desk.now = OFFER_AGAIN + 1
    desk.results.tick()
    assert isinstance(desk.link.messages[1], wire.Offer)


def test_an_upload_that_is_called_off_is_given_up(desk: Desk) -> None:
    desk.results.completed(desk.holding, desk.rendered(INLINE + 1))
    desk.holding.end(Ending.CALLED_OFF)
    desk.results.tick()
    assert desk.settled == [desk.holding]
    assert desk.results.uploading == 0
