"""What clients of ours ask other servers: it is passed on, and the answers are passed back to the clients' queues.

A question keeps its client's queue as the address for the answer. Nothing is kept of it here but who may be answered,
and until when: a peer can send nothing to a client that has asked it nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distren.amqp.link import Delivery
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import BLOBS, DEFAULT, NEWS, REQUESTS, SERVER_HEADER, frame_news, job_news
from distren.errors import DecodeError, DistrenError, NoAnswer
from distren.federation.member import Member
from distren.server import views
from distren.server.answers import problem
from distren.server.federation import Federation
from distren.server.handover import Handover
from distren.server.state import State
from distren.wire.codec import Message, decode
from distren.wire.jobs import FrameNews, JobNews, Submit

PATIENCE = 20.0
"""seconds that a peer may take to answer; a client waits longer than that for us"""
_GUEST = 3_600.0
"""seconds after its last question for which a client may be sent to"""


@dataclass(frozen=True, kw_only=True)
class _Question:
    delivery: Delivery
    member: Member
    type: str
    until: float


class Errands:
    """`publish` sends to the queues of our own broker."""

    def __init__(self, state: State, publish: Callable[[Outgoing], None]) -> None:
        self._state, self._publish = state, publish
        self.federation: Federation
        self._open: dict[tuple[str, str], _Question] = {}
        self._guests: dict[tuple[str, str], float] = {}
        self._handover = Handover(state.store, self._reply, state.steady)

    def stop(self) -> None:
        self._handover.stop()

    # -- from clients ------------------------------------------------------------------------------------------------

    def take(self, delivery: Delivery, message: Message) -> bool:
        """In the server's thread: pass a request on that is for another server; False where it is for us."""
        server = self._elsewhere(delivery)
        if server is None:
            return False
        try:
            self._pass_on(self.federation.member(server), delivery, message)
        except DistrenError as error:
            self._reply(delivery, problem(error))
        return True

    def take_blobs(self, delivery: Delivery) -> bool:
        """In a link's thread: pass on a read of a blob that another server has; False where it is for us."""
        server = self._elsewhere(delivery)
        if server is None:
            return False
        try:
            member = self.federation.member(server)
        except DistrenError:
            return True  # the request that led to this read has been refused with the reason
        if delivery.reply_to:
            self._welcome(member, delivery.reply_to)
            member.link.publish(_copy(delivery, BLOBS))
        return True

    def _elsewhere(self, delivery: Delivery) -> str | None:
        server = delivery.headers.get(SERVER_HEADER)
        return server if isinstance(server, str) and server.lower() != self._state.name else None

    def _pass_on(self, member: Member, delivery: Delivery, message: Message) -> None:
        steady = self._state.steady()
        if member.health.state(steady) in ("down", "refused"):
            raise NoAnswer(self._silent(member, steady))
        if isinstance(message, Submit):
            self._handover.ask(member, delivery, message)
        elif delivery.reply_to and delivery.correlation_id:
            self._welcome(member, delivery.reply_to)
            question = _Question(delivery=delivery, member=member, type=message.type, until=steady + PATIENCE)
            self._open[delivery.reply_to, delivery.correlation_id] = question
            member.link.publish(_copy(delivery, REQUESTS))

    def _welcome(self, member: Member, queue: str) -> None:
        self._guests[member.name, queue] = self._state.steady()

    def look(self) -> None:
        """In the server's thread, now and then: tell those who have waited for too long."""
        steady = self._state.steady()
        for key, question in list(self._open.items()):
            if question.until <= steady and self._open.pop(key, None) is not None:
                member = question.member
                why = f"'{member.name}' has not answered {question.type} for {PATIENCE:.0f} s"
                if member.health.state(steady) != "up":
                    why = self._silent(member, steady)
                self._reply(question.delivery, problem(NoAnswer(why)))
        for guest, asked in list(self._guests.items()):
            if steady - asked > _GUEST:
                self._guests.pop(guest, None)
        self._handover.look()

    def _silent(self, member: Member, steady: float) -> str:
        state, since = member.health.state(steady), member.health.since(steady)
        when = "" if since is None else f" since {views.clock(since)}"
        return f"the server '{member.name}' is {state}{when}: {member.health.why(steady)}"

    # -- from peers, in the threads of their links -------------------------------------------------------------------

    def bring(self, member: Member, delivery: Delivery) -> None:
        """Give a client what a peer sends it, if it has asked that peer for something."""
        if (member.name, delivery.key) not in self._guests:
            return
        self._open.pop((delivery.key, delivery.correlation_id or ""), None)
        self._publish(_copy(delivery, delivery.key))

    def tell_news(self, member: Member, delivery: Delivery) -> None:
        """Tell our listeners the news of a peer's job."""
        try:
            news = decode(delivery.body)
        except DecodeError:
            return
        if isinstance(news, JobNews | FrameNews) and news.server == member.name:
            key = job_news if isinstance(news, JobNews) else frame_news
            self._publish(
                Outgoing(
                    exchange=NEWS,
                    key=key(news.job, member.name),
                    body=delivery.body,
                    persistent=False,
                    type=news.type,
                )
            )

    def _reply(self, delivery: Delivery, reply: Message) -> None:
        if delivery.reply_to:
            self._publish(
                Outgoing(
                    exchange=DEFAULT,
                    key=delivery.reply_to,
                    body=reply.encode(),
                    correlation_id=delivery.correlation_id,
                    persistent=False,
                    type=reply.type,
                )
            )


def _copy(delivery: Delivery, key: str) -> Outgoing:
    """The same message, on its way to another queue or address."""
    return Outgoing(
        exchange=DEFAULT,
        key=key,
        body=delivery.body,
        reply_to=delivery.reply_to,
        correlation_id=delivery.correlation_id,
        persistent=False,
        type=delivery.type,
    )
