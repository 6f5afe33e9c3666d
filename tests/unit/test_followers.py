"""Those who follow a log are answered once for each question, and cost nothing else."""

from __future__ import annotations

from distren.amqp.link import Delivery
from distren.amqp.publisher import Done, Outgoing
from distren.wire.codec import Message, decode
from distren.wire.frames import LogText, ReadLog
from distren.wire.jobs import Problem
from distren.worker import followers
from distren.worker.followers import Followers

KEY = (1, 2, 3)


class Desk:
    """The followers of a worker, and what was sent to them."""

    session = 1

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[Outgoing] = []
        self.followers = Followers(self, clock=lambda: self.now)

    def publish(self, message: Outgoing, done: Done | None = None) -> None:
        self.sent.append(message)

    def ask(self, position: int = 0, *, issue: int = 3, client: str = "client.me") -> None:
        delivery = Delivery(body=b"", tag=1, session=1, queue="worker.w", reply_to=client, correlation_id="c")
        self.followers.answer(delivery, ReadLog(job=1, frame=2, issue=issue, position=position))

    def answers(self) -> list[Message]:
        found = [decode(message.body) for message in self.sent]
        assert all((one.key, one.correlation_id) == ("client.me", "c") for one in self.sent)
        self.sent.clear()
        return found


def test_a_follower_gets_what_is_there_then_each_line_once_and_the_end() -> None:
    desk = Desk()
    with desk.followers.log(KEY) as say:
        say("one")
        assert desk.sent == []
        desk.ask()
        assert desk.answers() == [LogText(text="one\n", position=4, over=False)]
        desk.ask(4)
        assert desk.answers() == []
        say("two")
        say("three")  # the answer is on its way: this waits for the next question
        assert desk.answers() == [LogText(text="two\n", position=8, over=False)]
        desk.ask(8)
        assert desk.answers() == [LogText(text="three\n", position=14, over=False)]
        desk.ask(14)
    assert desk.answers() == [LogText(text="", position=14, over=True)]


def test_an_attempt_that_was_followed_is_read_to_its_end_after_it() -> None:
    desk = Desk()
    with desk.followers.log(KEY) as say:
        desk.ask()
        say("one")
        say("two")
    assert desk.answers() == [LogText(text="one\n", position=4, over=False)]
    desk.now = followers.KEPT - 1
    desk.followers.tick()
    desk.ask(4)
    assert desk.answers() == [LogText(text="two\n", position=8, over=True)]
    desk.now = followers.KEPT
    desk.followers.tick()
    desk.ask(4)
    (gone,) = desk.answers()
    assert isinstance(gone, Problem)
    assert gone.error == "NotFound"


def test_nothing_is_kept_of_an_attempt_that_nobody_followed_or_that_is_another() -> None:
    desk = Desk()
    with desk.followers.log(KEY) as say:
        say("one")
        desk.ask(issue=4)
    desk.ask()
    assert [type(one) for one in desk.answers()] == [Problem, Problem]


def test_who_waits_for_long_is_told_that_there_is_nothing() -> None:
    desk = Desk()
    with desk.followers.log(KEY):
        desk.ask()
        desk.followers.tick()
        assert desk.answers() == []
        desk.now = followers.HOLD
        desk.followers.tick()
        desk.followers.tick()
        assert desk.answers() == [LogText(text="", position=0, over=False)]


def test_a_crowd_of_followers_does_not_pile_up() -> None:
    desk = Desk()
    with desk.followers.log(KEY):
        for _ in range(250):
            desk.ask()
        assert len(desk.answers()) == 150
