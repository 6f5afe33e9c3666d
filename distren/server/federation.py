"""The server among its peers: what arrives from them is sorted here, and what must be changed because of it is changed.

Messages come in by the threads of the peers' links; changes are made in the server's own thread, in `turn`.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from distren.amqp import topology
from distren.amqp.link import Delivery
from distren.amqp.peers import ANSWERS, MESSAGES
from distren.config import Settings
from distren.domain.job import Blob
from distren.errors import Conflict, DecodeError, DistrenError, NotFound
from distren.federation import operator, sender
from distren.federation.envelope import Envelope
from distren.federation.member import Member
from distren.federation.peerlink import Identity
from distren.federation.receiver import After, Handler, Receiver
from distren.server.answers import problem
from distren.server.associations import Associations
from distren.server.blobs import BlobDesk
from distren.server.examiner import OnExamined
from distren.server.greetings import Greetings
from distren.server.seeds import Seed
from distren.server.state import State
from distren.storage import identity
from distren.storage import jobs as job_rows
from distren.storage import peers as rows
from distren.storage.identity import Deposed
from distren.wire.codec import Message, decode
from distren.wire.jobs import FrameNews, JobNews, ShownJob, Submit, Submitted
from distren.wire.moves import TakeOver
from distren.wire.peers import Hello, Peers, Receipt, Watch

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
LOOK_EVERY = 5.0
"""seconds between looks at what is owed and not confirmed"""


@dataclass(frozen=True, kw_only=True)
class _Arrived:
    """`seed`: the manifest of a job that was examined before."""

    member: Member
    envelope: Envelope
    delivery: Delivery
    seed: Blob | None = None


class Federation:
    """`ask` has a request answered as the server does for its clients; `wake` asks for a turn; both from outside.

    `on_client` is given what a peer sends to a client of ours, and `on_news` news of its jobs, in a link's thread.
    """

    def __init__(
        self,
        state: State,
        settings: Settings,
        broker_url: str,
        *,
        ask: Callable[[Message, Callable[[Message], None]], None],
        wake: Callable[[], None],
        on_client: Callable[[Member, Delivery], None],
        on_news: Callable[[Member, Delivery], None],
        examine: Callable[[Blob, OnExamined], None] | None = None,
    ) -> None:
        self._state, self._settings, self._broker_url = state, settings, broker_url
        self._ask, self._wake, self._on_client, self._on_news = ask, wake, on_client, on_news
        self._receiver, self._examine = Receiver(), examine
        self._submissions: defaultdict[str, set[str]] = defaultdict(set)
        """the keys of jobs of each peer that are being examined"""
        self._listeners: dict[str, Callable[[str, Any], None]] = {}
        self._members: dict[str, Member] = {}
        self._desks: dict[str, BlobDesk] = {}
        self._arrived: deque[_Arrived] = deque()
        self._associations = Associations(state.name, settings, broker_url)
        self._greetings = Greetings(state)
        self._next_look = 0.0

    # -- what other parts of the server use --------------------------------------------------------------------------

    def send(self, connection: Connection, peer: str, message: Message) -> None:
        """Have `message` reach `peer` exactly once, if this transaction commits. Raises NotFound for no such peer.

        From another thread than the server's own, call `wake` after the commit.
        """
        sender.owe(connection, peer, message, self._state.now())
        if (member := self._members.get(peer)) is not None:
            member.sender.wanted = True

    def on(self, kind: type[M], handler: Handler[M]) -> None:
        """Have `handler` called in the server's thread, exactly once for each such message; see Receiver.on."""
        self._receiver.on(kind, handler)

    def listen(self, kind: type[M], listener: Callable[[str, M], None]) -> None:
        """Have `listener` called in the server's thread, outside of transactions, with what `tell` sends: perhaps."""
        self._listeners[kind.type] = listener

    def member(self, name: str) -> Member:
        """The peer of this name. Raises NotFound."""
        found = self._members.get(name)
        if found is None:
            known = ", ".join(sorted(self._members)) or "none"
            raise NotFound(
                f"there is no server '{name}' here: '{self._state.name}' answers, and its peers are: {known}"
            )
        return found

    def members(self) -> list[Member]:
        """All peers, by name."""
        return [self._members[name] for name in sorted(self._members)]

    def is_up(self, name: str) -> bool:
        member = self._members.get(name)
        return member is not None and member.health.state(self._state.steady()) == "up"

    def silent_since(self, name: str) -> float | None:
        """Since when (seconds since 1970) the peer has not been heard; None where it is up, or was never heard."""
        member = self._members.get(name)
        return None if member is None or self.is_up(name) else member.health.seen

    def fetcher(self, name: str) -> BlobDesk:
        """What brings a peer's blobs into our store; `.receiver.fetch(blob)` blocks. Raises NotFound: no such peer."""
        self.member(name)
        return self._desks[name]

    def tell_soon(self, peer: str, message: Message) -> None:
        """Send what a listener of the peer's may miss."""
        if (member := self._members.get(peer)) is not None:
            member.tell(MESSAGES, message)

    def check_quota(self, connection: Connection, peer: str, besides: str | None = None) -> None:
        """Raise Conflict where the peer has as many jobs here, or on their way, as it may; `besides`: a key."""
        open_jobs = rows.open_jobs(connection, peer) + len(self._submissions[peer] - {besides})
        if open_jobs >= self._settings.peer_jobs:
            raise Conflict(
                f"'{peer}' has {open_jobs} open jobs at '{self._state.name}', which takes no more than "
                f"{self._settings.peer_jobs} from a peer: wait until some are done"
            )

    def wake(self) -> None:
        """Ask for a turn."""
        self._wake()

    # -- opening and closing -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open the ways to all peers, in the background."""
        with self._state.engine.begin() as connection:
            self._instance = identity.mark(connection)
            operator.adopt(connection, self._settings, self._state.now())
        self.reload()

    def reload(self) -> None:
        """Read the peers again: open the ways to new ones, close those to peers that are no more."""
        with self._state.engine.begin() as connection:
            known = {peer.name: peer for peer in rows.every(connection)}
        for name in [name for name, member in self._members.items() if _changed(member.peer, known.get(name))]:
            self._close(name)
        for name, peer in known.items():
            if name not in self._members:
                self._open(peer)
        self._greetings.soon()
        self._next_look = 0.0

    def stop(self) -> None:
        self._associations.cease()
        with suppress(Deposed):
            self._greetings.save_seen(self.members())
        for name in list(self._members):
            self._close(name)
        self._associations.stop()

    def _open(self, peer: rows.Peer) -> None:
        member = Member(
            self._broker_url,
            Identity(name=self._state.name, instance=self._instance),
            peer,
            on_message=lambda member: partial(self._sort, member),
            on_refused=lambda member: partial(self._refused, member),
            on_up=self._greetings.say_hello,
        )
        desk = BlobDesk(member.link, member.mailbox, ANSWERS, self._state.store, most_bytes=self._settings.peer_upload)
        self._members[peer.name], self._desks[peer.name] = member, desk
        self._associations.look_after(member)

    def _close(self, name: str) -> None:
        member, desk = self._members.pop(name), self._desks.pop(name)
        desk.stop()
        member.close()
        self._associations.leave(name)

    # -- what arrives, in the threads of the links -------------------------------------------------------------------

    def _sort(self, member: Member, envelope: Envelope, delivery: Delivery) -> None:
        if member.instance is None:
            member.instance = envelope.instance
        if envelope.to.startswith("client."):
            self._on_client(member, delivery)
        elif envelope.to == topology.NEWS:
            self._on_news(member, delivery)
        elif envelope.to == topology.BLOBS:
            self._serve_blobs(member, delivery)
        elif envelope.to == ANSWERS and delivery.type not in (Hello.type, Receipt.type):
            member.mailbox.receive(delivery)
        elif envelope.to in (ANSWERS, topology.REQUESTS, MESSAGES):
            one = _Arrived(member=member, envelope=envelope, delivery=delivery)
            if delivery.type != TakeOver.type or not self._examine_first(one):
                self._arrive(one)
        else:
            log.warning("a peer's message to nobody was dropped", extra={"peer": member.name, "to": envelope.to})

    def _arrive(self, one: _Arrived) -> None:
        self._arrived.append(one)
        self._wake()

    def _examine_first(self, one: _Arrived) -> bool:
        """Have a job that is handed over looked at by another process before its turn comes, where that is possible.

        What the peer says meanwhile comes too early by its number, and is sent again.
        """
        try:
            manifest = TakeOver.expect(one.delivery.body).manifest.value()
        except DecodeError:
            return False

        def examined(found: Seed | DistrenError) -> None:
            self._state.examined[manifest.digest] = found
            self._arrive(replace(one, seed=manifest))

        if self._examine is None:
            return False
        self._examine(manifest, examined)
        return True

    def _serve_blobs(self, member: Member, delivery: Delivery) -> None:
        try:
            message = decode(delivery.body)
        except DecodeError as error:
            log.warning("a peer's request for blobs was dropped: %s", error, extra={"peer": member.name})
            return
        desk = self._desks.get(member.name)  # none: the peer has just been removed
        if desk is not None and not desk.answer(delivery, message, lambda: None):
            log.warning("a peer's request for blobs was dropped: %s", message.type, extra={"peer": member.name})

    def _refused(self, member: Member, reason: str) -> None:
        if member.health.refuse(reason, self._state.now(), self._state.steady()):
            log.error("nothing passes between us and a peer: %s", reason, extra={"peer": member.name})

    # -- changes, in the server's thread -----------------------------------------------------------------------------

    def turn(self) -> None:
        """Deal with what has arrived and with what is due. What a database refuses, peers will send again."""
        if not self._members:
            return
        arrived = [self._arrived.popleft() for _ in range(len(self._arrived))]
        for one in arrived:
            if one.delivery.type == Receipt.type:
                self._note(one)
        try:
            self._apply([one for one in arrived if one.envelope.number is not None])
            self._pump()
        except DBAPIError as error:
            log.error("the database refuses what peers say, they will say it again: %s", error.orig)
        for one in arrived:
            if one.seed is not None:
                self._state.examined.pop(one.seed.digest, None)
            self._deal_with(one)
        if self._greetings.greet(self.members()):
            for member in self._members.values():
                self._associations.look_after(member)

    def _deal_with(self, one: _Arrived) -> None:
        """What is neither a receipt nor numbered."""
        if one.delivery.type == Hello.type:
            self._greetings.hear(one.member, one.delivery)
        elif one.envelope.to == topology.REQUESTS:
            self._reply(one)
        elif one.envelope.to == MESSAGES and one.envelope.number is None:
            self._listen(one)

    def tell(self, news: JobNews | FrameNews) -> None:
        """Tell the peers whose clients watch a job."""
        for member in self._members.values():
            if member.watches(news, self._state.steady()):
                member.tell(topology.NEWS, news)

    def _apply(self, numbered: list[_Arrived]) -> None:
        """One transaction for all that has arrived; receipts follow the commit."""
        steady = self._state.steady()
        look = steady >= self._next_look
        if not (numbered or look):
            return
        with self._state.engine.begin() as connection:
            receipts, afters = self._take(connection, numbered)
            if look:
                self._next_look = steady + LOOK_EVERY
                for member in self._members.values():
                    member.sender.check(connection, steady)
        for after in afters:
            after()
        for name, receipt in receipts.items():
            self._members[name].tell(ANSWERS, receipt)

    def _take(self, connection: Connection, numbered: list[_Arrived]) -> tuple[dict[str, Receipt], list[After]]:
        """Hand on what must arrive; how far we are with each peer, and what is to be done after the commit."""
        receipts: dict[str, Receipt] = {}
        afters: list[After] = []
        for one in numbered:
            name = one.member.name
            if self._members.get(name) is one.member:
                receipts[name], after = self._receiver.take(connection, one.envelope, one.delivery)
                afters += [] if after is None else [after]
        return receipts, afters

    def _note(self, one: _Arrived) -> None:
        try:
            receipt = Receipt.expect(one.delivery.body)
        except DecodeError as error:
            log.warning("a peer's receipt was dropped: %s", error, extra={"peer": one.member.name})
            return
        one.member.sender.receipt(receipt, self._state.steady())

    def _pump(self) -> None:
        wanting = [member for member in self._members.values() if member.sender.wanted and member.link.is_open]
        if wanting:
            steady = self._state.steady()
            with self._state.engine.begin() as connection:
                for member in wanting:
                    member.sender.pump(connection, self._state.now(), steady)

    def _listen(self, one: _Arrived) -> None:
        try:
            message = decode(one.delivery.body)
        except DecodeError as error:
            log.warning("a peer's message was dropped: %s", error, extra={"peer": one.member.name})
            return
        if (listener := self._listeners.get(message.type)) is not None:
            listener(one.member.name, message)

    def _reply(self, one: _Arrived) -> None:
        """Have a request of a peer answered, as one of a client."""
        try:
            message = decode(one.delivery.body)
            if isinstance(message, Submit):
                with self._state.engine.begin() as connection:
                    # One that is here already is asked for again, as the answer was lost.
                    if job_rows.by_key(connection, message.key) is None:
                        self.check_quota(connection, one.member.name, besides=message.key)
        except DistrenError as error:
            log.warning("a peer's request is refused: %s", error, extra={"peer": one.member.name})
            self._tell(one, problem(error))
            return
        key = message.key if isinstance(message, Submit) else None
        if key is not None:
            self._submissions[one.member.name].add(key)

        def answered(reply: Message) -> None:
            if key is not None:
                self._submissions[one.member.name].discard(key)
            if isinstance(reply, Submitted):
                with self._state.engine.begin() as connection:
                    rows.note_job(connection, one.member.name, reply.job)
            if isinstance(message, Watch) and isinstance(reply, ShownJob):
                one.member.watch(message, self._state.steady())
            self._tell(one, reply)

        self._ask(message, answered)

    def _tell(self, one: _Arrived, reply: Message) -> None:
        if one.delivery.reply_to and self._members.get(one.member.name) is one.member:
            one.member.tell(one.delivery.reply_to, reply, one.delivery.correlation_id)

    # -- for people --------------------------------------------------------------------------------------------------

    def listing(self) -> Peers:
        """All peers as they are."""
        return self._greetings.listing(self.members())


def _changed(here: rows.Peer, there: rows.Peer | None) -> bool:
    return there is None or (here.created, here.address, here.secret) != (there.created, there.address, there.secret)
