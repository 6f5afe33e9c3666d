"""A link to a real broker, through a line that the tests can cut."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit, urlunsplit

import pytest
from line import Line
from waiting import PATIENCE, wait_for

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import LARGEST, Outgoing
from distren.amqp.topology import Exchange, Queue
from distren.errors import AccessRefused, BrokerUnavailable, Conflict, DistrenError, NotFound, SettingsError

WORK = Queue(name="work")
OWN = Queue(name="own", exclusive=True)


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def line(vhost_url: str, ending: ExitStack) -> Line:
    made = Line(vhost_url)
    ending.callback(made.close)
    return made


@pytest.fixture
def new_link(vhost_url: str, ending: ExitStack) -> Callable[..., Link]:
    def make(url: str = vhost_url, **how: object) -> Link:
        made = Link(url, name="test", **({"queues": [WORK]} | how))  # type: ignore[arg-type]
        ending.callback(made.close)
        made.start()
        return made

    return make


def to(queue: str, body: bytes = b"x", *, persistent: bool = True) -> Outgoing:
    return Outgoing(exchange="", key=queue, body=body, persistent=persistent)


class Inbox:
    """What a consumer has been given."""

    def __init__(self, link: Link, queue: str = "work", *, prefetch: int = 100, automatic: bool = False) -> None:
        self.got: list[Delivery] = []
        self.consumer = Consumer(
            queue=queue, tag=f"tag-{queue}", on_delivery=self.got.append, prefetch=prefetch, automatic=automatic
        )
        link.consume(self.consumer)

    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.got]

    def wait(self, count: int) -> None:
        wait_for(lambda: len(self.got) >= count)


# -- starting --------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_refused(vhost_url: str) -> None:
    parts = urlsplit(vhost_url)
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}"))
    with pytest.raises(AccessRefused) as caught:
        Link(wrong, name="test").start()
    assert "wrong@" not in str(caught.value)


def test_a_missing_virtual_host_is_refused(vhost_url: str) -> None:
    with pytest.raises(AccessRefused):
        Link(f"{vhost_url}-missing", name="test").start()


def test_a_patient_link_refuses_a_wrong_password_too(vhost_url: str) -> None:
    parts = urlsplit(vhost_url)
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}"))
    with pytest.raises(AccessRefused):
        Link(wrong, name="test", patient=True).start()


def test_no_broker_is_noticed_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=str(port)):
        Link(f"amqp://guest:guest@127.0.0.1:{port}/", name="test").start()
    assert time.monotonic() - began < 10


def test_a_host_without_an_address_is_no_broker() -> None:
    with pytest.raises(BrokerUnavailable):
        Link("amqp://guest:guest@no-such-host.invalid/", name="test").start()


def test_a_port_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(f"amqp://guest:guest@127.0.0.1:{listener.getsockname()[1]}/", name="test")
        with pytest.raises(BrokerUnavailable):
            link.start(timeout=1)


def test_a_url_of_another_scheme_is_refused() -> None:
    with pytest.raises(SettingsError):
        Link("http://localhost/", name="test")


def test_a_patient_link_waits_for_its_broker(line: Line, ending: ExitStack) -> None:
    line.cut()
    link = Link(line.url, name="test", queues=[WORK], patient=True)
    ending.callback(link.close)
    with ThreadPoolExecutor(1) as executor:
        started = executor.submit(link.start)
        wait_for(lambda: line.calls >= 2)
        assert not started.done()
        line.mend()
        started.result(PATIENCE)
    assert link.is_up


def test_a_patient_link_that_nobody_wants_any_more_gives_up(line: Line, ending: ExitStack) -> None:
    line.cut()
    link = Link(line.url, name="test", patient=True)
    ending.callback(link.close)
    with pytest.raises(BrokerUnavailable):
        link.start(wanted=lambda: line.calls < 2)


def test_a_port_without_tls_is_refused_at_once_where_tls_is_wanted(vhost_url: str) -> None:
    with pytest.raises(SettingsError, match="no TLS with the broker"):
        Link(vhost_url.replace("amqp://", "amqps://"), name="test", patient=True).start()


def test_a_queue_that_is_taken_is_a_conflict(new_link: Callable[..., Link]) -> None:
    new_link(queues=[OWN])
    with pytest.raises(Conflict, match="own"):
        new_link(queues=[OWN])


# -- publishing ------------------------------------------------------------------------------------------------------


def test_a_message_that_no_broker_takes_is_refused_and_others_go_on(new_link: Callable[..., Link]) -> None:
    link = new_link(queues=[WORK])
    with pytest.raises(DistrenError, match="above the limit"):
        link.publish_all([Outgoing(exchange="", key="work", body=bytes(LARGEST + 1))], 30.0)
    link.publish_all([Outgoing(exchange="", key="work", body=bytes(LARGEST))], 30.0)
    assert link.session == 1


def test_a_published_message_is_confirmed_and_arrives(new_link: Callable[..., Link]) -> None:
    link = new_link()
    message = Outgoing(exchange="", key="work", body=b"x", reply_to="r", correlation_id="c", type="t")
    link.publish_all([message], timeout=PATIENCE)
    inbox = Inbox(link)
    inbox.wait(1)
    got = inbox.got[0]
    assert (got.body, got.reply_to, got.correlation_id, got.type, got.key, got.queue) == (
        b"x",
        "r",
        "c",
        "t",
        "work",
        "work",
    )


def test_a_message_that_no_queue_takes_is_not_found(new_link: Callable[..., Link]) -> None:
    link = new_link()
    with pytest.raises(NotFound, match="nowhere"):
        link.publish_all([to("work"), to("nowhere")], timeout=PATIENCE)
    with pytest.raises(NotFound):
        link.publish_all([to("nowhere", persistent=False)], timeout=PATIENCE)


def test_an_exchange_that_does_not_exist_does_not_end_the_link(new_link: Callable[..., Link]) -> None:
    link = new_link()
    link.publish(Outgoing(exchange="missing", key="x", body=b"", persistent=False))
    wait_for(lambda: link.session == 2)
    link.publish_all([to("work")], timeout=PATIENCE)


def test_large_and_empty_bodies_arrive_whole(new_link: Callable[..., Link]) -> None:
    link = new_link()
    bodies = [b"", os.urandom(1), os.urandom(2**20), os.urandom(5 * 2**20 + 3)]
    inbox = Inbox(link)
    link.publish_all([to("work", body) for body in bodies], timeout=PATIENCE)
    inbox.wait(4)
    assert inbox.bodies() == bodies


def test_many_threads_publish_at_once(new_link: Callable[..., Link]) -> None:
    link = new_link()
    with ThreadPoolExecutor(8) as executor:
        list(
            executor.map(lambda n: link.publish_all([to("work", b"%d.%d" % (n, i)) for i in range(250)], 30), range(8))
        )
    inbox = Inbox(link, prefetch=5_000)
    inbox.wait(2_000)
    assert sorted(inbox.bodies()) == sorted(b"%d.%d" % (n, i) for n in range(8) for i in range(250))


def test_flush_waits_for_what_was_published(new_link: Callable[..., Link]) -> None:
    link = new_link()
    done: list[DistrenError | None] = []
    for _ in range(500):
        link.publish(to("work"), done.append)
    assert link.flush(PATIENCE)
    assert done == [None] * 500


def test_an_error_in_a_callback_does_not_end_the_link(new_link: Callable[..., Link]) -> None:
    link = new_link()

    def broken(*_: object) -> None:
        raise RuntimeError("a mistake in a handler")

    link.consume(Consumer(queue="work", tag="broken", on_delivery=broken, automatic=True))
    link.publish(to("work"), broken)
    link.publish_all([to("work")], timeout=PATIENCE)
    assert link.is_up
    assert link.session == 1


def test_a_closed_link_says_so_to_who_publishes(new_link: Callable[..., Link]) -> None:
    link = new_link()
    link.close()
    with pytest.raises(BrokerUnavailable):
        link.publish_all([to("work")], timeout=PATIENCE)
    link.acknowledge(Delivery(body=b"", tag=1, session=1, queue="work"))


def test_closing_tells_who_waits_for_a_confirm(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url)
    line.swallows_answers = True
    told: list[DistrenError | None] = []
    link.publish(to("work"), told.append)
    link.close(timeout=0.2)
    line.cut()
    wait_for(lambda: bool(told))
    assert isinstance(told[0], BrokerUnavailable)


# -- consuming -------------------------------------------------------------------------------------------------------


def test_what_is_not_acknowledged_is_limited_by_the_prefetch(new_link: Callable[..., Link]) -> None:
    link = new_link()
    link.publish_all([to("work", b"%d" % n) for n in range(5)], timeout=PATIENCE)
    inbox = Inbox(link, prefetch=2)
    inbox.wait(2)
    link.acknowledge(inbox.got[0])
    inbox.wait(3)
    assert inbox.bodies() == [b"0", b"1", b"2"]


def test_a_message_given_back_comes_again_and_a_buried_one_does_not(new_link: Callable[..., Link]) -> None:
    link = new_link()
    inbox = Inbox(link, prefetch=1)
    link.publish_all([to("work", b"1"), to("work", b"2")], timeout=PATIENCE)
    inbox.wait(1)
    link.give_back(inbox.got[0])
    inbox.wait(2)
    assert inbox.got[1].redelivered
    link.bury(inbox.got[1])
    inbox.wait(3)
    assert inbox.bodies() == [b"1", b"1", b"2"]


def test_cancel_keeps_what_is_not_acknowledged(new_link: Callable[..., Link]) -> None:
    link, other = new_link(), new_link()
    inbox = Inbox(link, prefetch=1)
    link.publish_all([to("work", b"1"), to("work", b"2")], timeout=PATIENCE)
    inbox.wait(1)
    link.cancel(inbox.consumer.tag)
    taken = Inbox(other)
    taken.wait(1)
    assert taken.bodies() == [b"2"]
    link.acknowledge(inbox.got[0])
    link.flush(PATIENCE)
    link.close()
    counted: list[int] = []
    other.count("work", counted.append)
    wait_for(lambda: bool(counted))
    assert counted == [0]
    assert inbox.bodies() == [b"1"]


def test_several_consumers_begin_together_with_deliveries_waiting(new_link: Callable[..., Link], line: Line) -> None:
    queues = [Queue(name=f"q{n}") for n in range(10)]
    link = new_link(queues=queues)
    link.publish_all([to(queue.name) for queue in queues for _ in range(20)], timeout=PATIENCE)
    busy = Link(line.url, name="busy", queues=queues)
    done: list[Delivery] = []

    def deliver(delivery: Delivery) -> None:
        done.append(delivery)
        busy.acknowledge(delivery)

    for queue in queues:
        busy.consume(Consumer(queue=queue.name, tag=queue.name, on_delivery=deliver, prefetch=1))
    busy.start()
    wait_for(lambda: len(done) == 200)
    busy.close()


# -- reconnecting ----------------------------------------------------------------------------------------------------


def test_a_cut_line_is_replaced_and_consumers_come_back(line: Line, new_link: Callable[..., Link]) -> None:
    ups: list[int] = []
    downs: list[int] = []
    exchange = Exchange(name="shout", kind="fanout")
    bound = Queue(name="own", exclusive=True, bindings=(("shout", ""),))
    link = new_link(
        line.url,
        exchanges=[exchange],
        queues=[WORK, bound],
        on_up=lambda: ups.append(1),
        on_down=lambda: downs.append(1),
    )
    inbox, own = Inbox(link), Inbox(link, "own", automatic=True)
    line.cut()
    wait_for(lambda: not link.is_up)
    line.mend()
    wait_for(lambda: link.is_up)
    assert (link.session, len(ups), len(downs)) == (2, 2, 1)
    link.publish_all([to("work", b"after"), Outgoing(exchange="shout", key="", body=b"heard")], timeout=PATIENCE)
    inbox.wait(1)
    own.wait(1)
    assert (inbox.bodies(), own.bodies()) == ([b"after"], [b"heard"])


def test_the_loss_of_the_broker_is_told_once_for_all_links(
    line: Line, new_link: Callable[..., Link], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "distren")
    links = [new_link(line.url), new_link(line.url)]
    for lost in (1, 2):
        line.cut()
        wait_for(lambda: not any(link.is_up for link in links))
        calls = line.calls
        wait_for(lambda calls=calls: line.calls >= calls + 4)
        line.mend()
        wait_for(lambda: all(link.is_up for link in links))
        assert caplog.text.count("no connection to the broker, trying again until it is back") == lost
        wait_for(lambda lost=lost: caplog.text.count("connected to the broker again") == lost)


def test_what_was_not_confirmed_is_sent_again(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url)
    line.swallows_answers = True
    done: list[DistrenError | None] = []
    for number in range(100):
        link.publish(to("work", b"%d" % number), done.append)
    assert not link.flush(0.3)
    line.cut()
    for number in range(100, 110):
        link.publish(to("work", b"%d" % number), done.append)
    line.mend()
    assert link.flush(PATIENCE)
    assert done == [None] * 110
    inbox = Inbox(link, prefetch=1_000)
    wait_for(lambda: {int(body) for body in inbox.bodies()} == set(range(110)))


def test_a_transient_message_is_dropped_while_the_line_is_cut(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url)
    line.cut()
    wait_for(lambda: not link.is_up)
    told: list[DistrenError | None] = []
    link.publish(to("work", persistent=False), told.append)
    wait_for(lambda: bool(told))
    assert isinstance(told[0], BrokerUnavailable)


def test_an_acknowledgement_of_an_old_session_is_ignored(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url)
    link.publish_all([to("work", b"1"), to("work", b"2")], timeout=PATIENCE)
    inbox = Inbox(link, prefetch=1)
    inbox.wait(1)
    line.cut()
    wait_for(lambda: not link.is_up)
    line.mend()
    inbox.wait(2)
    assert inbox.got[1].body == b"1"
    link.acknowledge(inbox.got[0])
    link.flush(PATIENCE)
    link.acknowledge(inbox.got[1])
    inbox.wait(3)
    assert inbox.bodies() == [b"1", b"1", b"2"]
    assert link.session == 2


def test_a_queue_still_held_by_our_lost_connection_is_waited_for(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url, queues=[WORK, OWN])
    line.cut()
    wait_for(lambda: not link.is_up)
    ghost = new_link(queues=[])
    wait_for(lambda: _takes(ghost))
    line.mend()
    before = line.calls
    wait_for(lambda: line.calls >= before + 2)
    assert link.failure is None
    ghost.close()
    wait_for(lambda: link.is_up)


def _takes(ghost: Link) -> bool:
    """Whether `ghost` holds the queue, as a connection does that the broker has not yet noticed to be gone."""
    ghost.declare(OWN)
    counted: list[int] = []
    ghost.count("own", counted.append)
    with suppress(pytest.fail.Exception):
        wait_for(lambda: bool(counted), 2)
    return bool(counted)


def test_orders_given_while_the_line_is_cut_are_obeyed_later(line: Line, new_link: Callable[..., Link]) -> None:
    link = new_link(line.url)
    line.cut()
    wait_for(lambda: not link.is_up)
    link.declare(Queue(name="later"))
    inbox = Inbox(link, "later")
    link.publish(to("later"))
    line.mend()
    inbox.wait(1)
