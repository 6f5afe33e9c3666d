"""Messages between servers that are peers, and what a server tells its own clients about them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from distren.wire.codec import Message
from distren.wire.fields import Count, Id, Name, Seconds, ShortText, Token


class Hello(Message, type="peer.hello"):
    """Peer → peer, every 15 s and when a connection opens. May be lost.

    `sent` is the sender's clock (seconds since 1970, UTC); `echo` is the `sent` of the last hello that it had from the
    receiver, and `held` how many seconds ago that came: together they give the difference of the two clocks.
    """

    software: Name
    sent: Seconds
    echo: Seconds | None = None
    held: Seconds = 0.0


class Receipt(Message, type="peer.receipt"):
    """Peer → peer: of the messages that are numbered under `epoch`, all below `next` are dealt with. May be lost."""

    epoch: Token
    next: Count


class Refusal(Message, type="peer.refusal"):
    """Peer → peer: I do not take what you send, and why. Understood by every version."""

    reason: ShortText


class PeerInfo(BaseModel):
    """A peer as its server sees it. Times are seconds since 1970, UTC.

    `state`: `up`, `down`, `refused` (`reason` says why), `new` (not heard yet, since it was added or the server
    started); `since` is when that began. `role`: `added` (we reach its broker) or `accepted` (it reaches ours).
    `backlog` is how many messages wait in our broker for it, `owed` how many it has not confirmed. `clock` is how many
    seconds its clock is ahead of ours. `lent` is how many frames of ours it has, `room` how many it takes in all, and
    `renderers` what it renders them with, by name and version.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    peer: Name
    state: Name
    since: Seconds | None
    role: Name
    address: ShortText | None
    software: Name | None
    seen: Seconds | None
    clock: float | None
    backlog: Count
    owed: Count
    reason: ShortText = ""
    lent: Count = 0
    room: Count = 0
    renderers: dict[str, ShortText] = {}


class ListPeers(Message, type="peer.list"):
    """Client → server: which peers do you have, and how are they?"""


class Peers(Message, type="peer.listing"):
    server: Name
    peers: list[PeerInfo]


class PeersChanged(Message, type="peer.changed"):
    """Operator's command → server: read your peers again; answered with `peer.listing`."""


class Forwarding(Message, type="job.forwarding"):
    """Server → client that submits to another one: its files are on their way there; ask again, with the same key."""

    sent: Count
    missing: Count


class Watch(Message, type="job.watch"):
    """Client → another server than its own: send news of this job for a minute, of its frames too where `frames`.

    Answered with `job.shown`.
    """

    job: Id
    frames: bool = False
