"""Hellos that pass between this server and its peers, and what is known from them: who is up, how its clock goes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.exc import DBAPIError

from distren import __version__
from distren.amqp import address
from distren.amqp.link import Delivery
from distren.amqp.peers import ANSWERS
from distren.domain.lending import peer_of
from distren.errors import DecodeError
from distren.federation.health import HELLO_EVERY
from distren.federation.member import Member
from distren.server.state import State
from distren.storage import loans
from distren.storage import peers as rows
from distren.wire.peers import Hello, PeerInfo, Peers

log = logging.getLogger(__name__)

_SAVE_EVERY = 60.0
"""seconds between writes of when each peer was last heard"""
ALERT = 10_000
"""messages that wait in our broker for a peer: more than a pause of minutes explains"""


class Greetings:
    """Works in the server's thread, but for `say_hello`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._next_hello = self._next_save = 0.0
        self._told_backlog: set[str] = set()

    def soon(self) -> None:
        """All are to be greeted with the next turn."""
        self._next_hello = 0.0

    def say_hello(self, member: Member) -> None:
        member.tell(ANSWERS, member.health.hello(__version__, self._state.now(), self._state.steady()))

    def greet(self, members: Collection[Member]) -> bool:
        """Now and then: say hello to all, and note who was heard. True where it was time for it."""
        steady = self._state.steady()
        due = steady >= self._next_hello
        if due:
            self._next_hello = steady + HELLO_EVERY
            for member in members:
                self.say_hello(member)
                if member.health.is_overdue(steady):
                    member.link.listen_again()
            self._warn_of_backlogs(members)
        if steady >= self._next_save:
            self._next_save = steady + _SAVE_EVERY
            self.save_seen(members)
        return due

    def hear(self, member: Member, delivery: Delivery) -> None:
        """A peer has said hello."""
        try:
            hello = Hello.expect(delivery.body)
        except DecodeError as error:
            log.warning("a peer's hello was dropped: %s", error, extra={"peer": member.name})
            return
        if member.health.hear(hello, self._state.now(), self._state.steady()):
            log.info("a peer is up", extra={"peer": member.name, "software": hello.software})
            self._next_save = 0.0
            self.say_hello(member)

    def _warn_of_backlogs(self, members: Collection[Member]) -> None:
        for member in members:
            waiting = member.sender.waiting or 0
            if waiting > ALERT and member.name not in self._told_backlog:
                self._told_backlog.add(member.name)
                log.error("messages pile up for a peer", extra={"peer": member.name, "waiting": waiting})
            elif waiting <= ALERT:
                self._told_backlog.discard(member.name)

    def save_seen(self, members: Collection[Member]) -> None:
        try:
            with self._state.engine.begin() as connection:
                for member in members:
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

    def listing(self, members: Collection[Member]) -> Peers:
        """All peers as they are."""
        steady = self._state.steady()
        with self._state.engine.begin() as connection:
            owed = {one.name: rows.count_owed(connection, one.name) for one in members}
            lent = loans.count(connection)
        infos = [_info(one, owed[one.name], steady).model_copy(update=self._offer(one.name, lent)) for one in members]
        return Peers(server=self._state.name, peers=infos)

    def _offer(self, peer: str, lent: Mapping[str, int]) -> dict[str, Any]:
        """What the peer takes of our frames, and how many it has."""
        offers = [one for queue, one in self._state.fleet.offers.items() if peer_of(queue) == peer]
        renderers = {name: version for one in offers for name, version in one.renderers.items()}
        return {"lent": lent.get(peer, 0), "room": sum(one.room for one in offers), "renderers": renderers}


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
