"""The server among its peers: what arrives from them is sorted here, and what must be changed because of it is changed.

Messages come in by the threads of the peers' links; changes are made in the server's own thread, in `turn`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from distren import __version__
from distren.amqp import address, topology
from distren.amqp.link import Delivery
from distren.amqp.peers import ANSWERS, MESSAGES
from distren.broker import locate
from distren.broker.management import Management
from distren.config import Settings
from distren.errors import Conflict, DecodeError, DistrenError, NotFound
from distren.federation import association, operator, sender, shovelcheck
from distren.federation.envelope import Envelope
from distren.federation.health import HELLO_EVERY
from distren.federation.member import Member
from distren.federation.peerlink import Identity
from distren.federation.receiver import After, Handler, Receiver
from distren.server.blobs import BlobDesk
from distren.server.state import State
from distren.storage import identity
from distren.storage import peers as rows
from distren.storage.identity import Deposed
from distren.wire.codec import Message, decode
from distren.wire.jobs import FrameNews, JobNews, Problem, ShownJob, Submit, Submitted
from distren.wire.peers import Hello, PeerInfo, Peers, Receipt, Watch

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
LOOK_EVERY = 5.0
"""seconds between looks at what is owed and not confirmed"""
_SAVE_EVERY = 60.0
"""seconds between writes of when each peer was last heard"""
ALERT = 10_000
"""messages that wait in our broker for a peer: more than a pause of minutes explains"""


@dataclass(frozen=True, kw_only=True)
class _Arrived:
    member: Member
    envelope: Envelope
    delivery: Delivery


class Federation:
    """`answer` replies to a request as the server does for its clients; `wake` asks for a turn; both from outside.

    `on_client` is given what a peer sends to a client of ours, and `on_news` news of its jobs, in a link's thread.
    """

    def __init__(
        self,
        state: State,
        settings: Settings,
        broker_url: str,
        *,
        answer: Callable[[Message], Message],
        wake: Callable[[], None],
        on_client: Callable[[Member, Delivery], None],
        on_news: Callable[[Member, Delivery], None],
    ) -> None:
        self._state, self._settings, self._broker_url = state, settings, broker_url
        self._answer, self._wake, self._on_client, self._on_news = answer, wake, on_client, on_news
        self._receiver = Receiver()
        self._members: dict[str, Member] = {}
        self._desks: dict[str, BlobDesk] = {}
        self._arrived: deque[_Arrived] = deque()
        self._mender = ThreadPoolExecutor(1, thread_name_prefix="peers")
        self._mending: dict[str, Future[None]] = {}
        self._management: Management | None = None
        self._next_look = self._next_hello = self._next_save = 0.0
        self._told_backlog: set[str] = set()

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

    def fetcher(self, name: str) -> BlobDesk:
        """What brings a peer's blobs into our store; `.receiver.fetch(blob)` blocks. Raises NotFound: no such peer."""
        self.member(name)
        return self._desks[name]

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
        self._next_hello = self._next_look = 0.0

    def stop(self) -> None:
        self._mender.shutdown(wait=False, cancel_futures=True)
        with suppress(Deposed):
            self._save_seen()
        for name in list(self._members):
            self._close(name)
        self._mender.shutdown(cancel_futures=True)
        if self._management is not None:
            self._management.close()

    def _open(self, peer: rows.Peer) -> None:
        member = Member(
            self._broker_url,
            Identity(name=self._state.name, instance=self._instance),
            peer,
            on_message=lambda member: partial(self._sort, member),
            on_refused=lambda member: partial(self._refused, member),
            on_up=self._say_hello,
        )
        desk = BlobDesk(member.link, member.mailbox, ANSWERS, self._state.store, most_bytes=self._settings.peer_upload)
        self._members[peer.name], self._desks[peer.name] = member, desk
        self._mend(member)

    def _close(self, name: str) -> None:
        member, desk = self._members.pop(name), self._desks.pop(name)
        desk.stop()
        member.close()

    # -- the state of the association, in a thread of its own --------------------------------------------------------

    def _mend(self, member: Member) -> None:
        """Look after the association in the background, unless that is under way."""
        under_way = self._mending.get(member.name)
        if under_way is None or under_way.done():
            self._mending[member.name] = self._mender.submit(self._look_after, member)

    def _look_after(self, member: Member) -> None:
        try:
            if not member.link.is_up:
                with_management = self._establish(member)
                if not member.link.is_open:
                    member.link.open()
                if not with_management:
                    return
            if (management := self._api()) is not None:
                trouble = shovelcheck.check(management, self._broker_url, self._state.name, member.peer)
                if trouble and trouble != member.health.trouble:
                    log.warning("a peer can not be reached: %s", trouble, extra={"peer": member.name})
                member.health.trouble = trouble
        except DistrenError as error:
            if str(error) != member.health.trouble:
                log.warning("the association with a peer is not in order: %s", error, extra={"peer": member.name})
            member.health.trouble = str(error)
        except Exception:
            log.exception("the association with a peer could not be looked after")

    def _establish(self, member: Member) -> bool:
        """Make what is missing on our broker; False where we may not, and trust that somebody else has."""
        management = self._api()
        if management is None:
            return False
        try:
            user = address.user(self._broker_url)
            association.establish(management, self._state.name, member.peer, farm_user=user)
        except DistrenError as error:
            log.warning("the association with a peer is taken as it is: %s", error, extra={"peer": member.name})
            return False
        return True

    def _api(self) -> Management | None:
        if self._management is None:
            try:
                self._management = locate.management(
                    self._settings.model_copy(update={"broker": self._settings.broker or self._broker_url})
                )
            except DistrenError as error:
                log.warning("the broker can not be managed: %s", error)
        return self._management

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
        elif envelope.to in (ANSWERS, topology.REQUESTS) or (envelope.to == MESSAGES and envelope.number is not None):
            self._arrived.append(_Arrived(member=member, envelope=envelope, delivery=delivery))
            self._wake()
        else:
            log.warning("a peer's message to nobody was dropped", extra={"peer": member.name, "to": envelope.to})

    def _serve_blobs(self, member: Member, delivery: Delivery) -> None:
        try:
            message = decode(delivery.body)
        except DecodeError as error:
            log.warning("a peer's request for blobs was dropped: %s", error, extra={"peer": member.name})
            return
        if not self._desks[member.name].answer(delivery, message, lambda: None):
            log.warning("a peer's request for blobs was dropped: %s", message.type, extra={"peer": member.name})

    def _refused(self, member: Member, reason: str) -> None:
        if member.health.refuse(reason, self._state.now(), self._state.steady()):
            log.error("nothing passes between us and a peer: %s", reason, extra={"peer": member.name})

    def _say_hello(self, member: Member) -> None:
        member.tell(ANSWERS, member.health.hello(__version__, self._state.now(), self._state.steady()))

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
            if one.delivery.type == Hello.type:
                self._hear(one)
            elif one.envelope.to == topology.REQUESTS:
                self._reply(one)
        self._greet()

    def _greet(self) -> None:
        """Now and then: say hello to all, look after the ways to them, and note who was heard."""
        steady = self._state.steady()
        if steady >= self._next_hello:
            self._next_hello = steady + HELLO_EVERY
            for member in self._members.values():
                self._say_hello(member)
                self._mend(member)
            self._warn_of_backlogs()
        if steady >= self._next_save:
            self._next_save = steady + _SAVE_EVERY
            self._save_seen()

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
        receipts: dict[str, Receipt] = {}
        afters: list[After] = []
        with self._state.engine.begin() as connection:
            for one in numbered:
                name = one.member.name
                if self._members.get(name) is not one.member:
                    continue
                receipts[name], after = self._receiver.take(connection, one.envelope, one.delivery)
                if after is not None:
                    afters.append(after)
            if look:
                self._next_look = steady + LOOK_EVERY
                for member in self._members.values():
                    member.sender.check(connection, steady)
        for after in afters:
            after()
        for name, receipt in receipts.items():
            self._members[name].tell(ANSWERS, receipt)

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

    def _hear(self, one: _Arrived) -> None:
        try:
            hello = Hello.expect(one.delivery.body)
        except DecodeError as error:
            log.warning("a peer's hello was dropped: %s", error, extra={"peer": one.member.name})
            return
        member = one.member
        if member.health.hear(hello, self._state.now(), self._state.steady()):
            log.info("a peer is up", extra={"peer": member.name, "software": hello.software})
            self._next_save = 0.0
            self._say_hello(member)

    def _reply(self, one: _Arrived) -> None:
        """Answer a request of a peer, as of a client."""
        try:
            message = decode(one.delivery.body)
            self._check_quota(one.member, message)
        except DistrenError as error:
            reply: Message = problem(error)
        else:
            reply = self._answer(message)
            if isinstance(reply, Submitted):
                with self._state.engine.begin() as connection:
                    rows.note_job(connection, one.member.name, reply.job)
            if isinstance(message, Watch) and isinstance(reply, ShownJob):
                one.member.watch(message, self._state.steady())
        if one.delivery.reply_to:
            one.member.tell(one.delivery.reply_to, reply, one.delivery.correlation_id)

    def _check_quota(self, member: Member, message: Message) -> None:
        if not isinstance(message, Submit):
            return
        with self._state.engine.begin() as connection:
            open_jobs = rows.open_jobs(connection, member.name)
        if open_jobs >= self._settings.peer_jobs:
            raise Conflict(
                f"'{member.name}' has {open_jobs} open jobs at '{self._state.name}', which takes no more than "
                f"{self._settings.peer_jobs} from a peer: wait until some are done"
            )

    def _warn_of_backlogs(self) -> None:
        for member in self._members.values():
            waiting = member.sender.waiting or 0
            if waiting > ALERT and member.name not in self._told_backlog:
                self._told_backlog.add(member.name)
                log.error("messages pile up for a peer", extra={"peer": member.name, "waiting": waiting})
            elif waiting <= ALERT:
                self._told_backlog.discard(member.name)

    def _save_seen(self) -> None:
        try:
            with self._state.engine.begin() as connection:
                for member in self._members.values():
                    health = member.health
                    if health.seen is not None:
                        rows.change(
                            connection,
                            member.name,
                            seen=health.seen,
                            software=health.software,
                            instance=member.instance,
                        )
        except DBAPIError as error:
            log.error("the database refuses when peers were heard: %s", error.orig)

    # -- for people --------------------------------------------------------------------------------------------------

    def listing(self) -> Peers:
        """All peers as they are."""
        steady = self._state.steady()
        with self._state.engine.begin() as connection:
            owed = {name: rows.count_owed(connection, name) for name in self._members}
        return Peers(server=self._state.name, peers=[_info(one, owed[one.name], steady) for one in self.members()])


def problem(error: DistrenError) -> Problem:
    """An error as a reply."""
    return Problem(error=type(error).__name__, text=str(error)[:2_000])


def _changed(here: rows.Peer, there: rows.Peer | None) -> bool:
    return there is None or (here.created, here.address, here.secret) != (there.created, there.address, there.secret)


def _info(member: Member, owed: int, steady: float) -> PeerInfo:
    health, peer = member.health, member.peer
    return PeerInfo(
        peer=peer.name,
        state=health.state(steady),
        since=health.since(steady),
        role="accepted" if peer.address is None else "added",
        address=None if peer.address is None else address.shown(peer.address),
        software=health.software,
        seen=health.seen,
        clock=health.clock,
        backlog=member.sender.waiting or 0,
        owed=owed,
        reason=health.why(steady)[:2_000],
    )
