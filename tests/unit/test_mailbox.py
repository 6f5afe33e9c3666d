"""What a mailbox does with each delivery."""

from __future__ import annotations

import logging

import pytest

from distren.amqp.link import Delivery
from distren.amqp.mailbox import Mailbox
from distren.errors import DecodeError
from distren.wire.blobs import CHUNK, Gone, Piece, Stored

DIGEST = "ab" * 32


def delivery(body: bytes, *, kind: str | None = None, correlation_id: str | None = None) -> Delivery:
    return Delivery(body=body, tag=1, session=1, queue="client.x", type=kind, correlation_id=correlation_id)


class Replies:
    """Waits for one correlation id."""

    def receive(self, delivery: Delivery) -> bool:
        return delivery.correlation_id == "mine"


def test_a_message_reaches_the_handler_of_its_kind() -> None:
    mailbox = Mailbox("client.x")
    stored: list[Stored] = []
    gone: list[Gone] = []
    mailbox.on(Stored, lambda _, message: stored.append(message))
    mailbox.on(Gone, lambda _, message: gone.append(message))
    mailbox.receive(delivery(Stored(digest=DIGEST).encode()))
    assert stored == [Stored(digest=DIGEST)]
    assert not gone


def test_a_reply_that_is_waited_for_reaches_no_handler() -> None:
    mailbox = Mailbox("client.x")
    stored: list[Stored] = []
    mailbox.on(Stored, lambda _, message: stored.append(message))
    mailbox.requester = Replies()
    mailbox.receive(delivery(Stored(digest=DIGEST).encode(), correlation_id="mine"))
    assert not stored
    mailbox.receive(delivery(Stored(digest=DIGEST).encode(), correlation_id="another"))
    assert len(stored) == 1


def test_a_piece_is_its_bytes_and_its_label() -> None:
    mailbox = Mailbox("client.x")
    pieces: list[Piece] = []
    mailbox.on(Piece, lambda _, piece: pieces.append(piece))
    sent = Piece(digest=DIGEST, offset=7, data=b"\x00\xff")
    mailbox.receive(delivery(sent.data, kind=Piece.type, correlation_id=sent.label))
    assert pieces == [sent]


@pytest.mark.parametrize("label", [None, "", DIGEST, f"{DIGEST}:", f"{DIGEST}:-1", f"{DIGEST}:{'9' * 17}", "x:1"])
def test_a_piece_with_a_wrong_label_is_refused(label: str | None) -> None:
    with pytest.raises(DecodeError):
        Piece.read(label, b"")


def test_a_piece_that_is_too_large_is_refused() -> None:
    with pytest.raises(DecodeError):
        Piece.read(f"{DIGEST}:0", bytes(CHUNK + 1))


def test_what_can_not_be_handled_is_logged_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    mailbox = Mailbox("client.x")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            mailbox.receive(delivery(b"junk"))
            mailbox.receive(delivery(b"", kind=Piece.type))
            mailbox.receive(delivery(Stored(digest=DIGEST).encode()))
    assert len(caplog.records) == 3


def test_an_error_in_a_handler_does_not_reach_the_link() -> None:
    mailbox = Mailbox("client.x")

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake in a handler")

    mailbox.on(Stored, broken)
    mailbox.receive(delivery(Stored(digest=DIGEST).encode()))
