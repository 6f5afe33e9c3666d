"""What a broker and a database can do to a server: a real one, with the test as client and worker."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from test_server import QUEUE, Peer, RunningServer, _answers, _attempt, settings

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import EXCHANGES, FRAMES, Queue, client_queue, frames_queue
from distren.broker import server_program
from distren.broker.management import Management
from distren.broker.private import PrivateBroker
from distren.errors import BrokerUnavailable, OutputError
from distren.storage import schema
from distren.storage.blobstore import BlobStore
from distren.wire import jobs
from distren.wire.frames import Started

PATIENCE = 60.0


def wait_for(condition: object, seconds: float = PATIENCE) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds, "it did not come about"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def server(vhost_url: str, tmp_path: Path) -> Iterator[RunningServer]:
    yield from running(vhost_url, tmp_path)


def running(url: str, folder: Path) -> Iterator[RunningServer]:
    given = settings(folder / "farm")
    schema.upgrade(given.database_url)
    made = RunningServer(given, url)
    made.start()
    yield made
    made.stop()
    assert made.error is None


def peer_of(server: RunningServer) -> Peer:
    made = Peer(server.broker_url, BlobStore(server.settings.blobs))
    made.until(lambda: _answers(made))
    return made


def test_a_broker_that_lost_its_data_gets_all_waiting_frames_again_at_once(
    server: RunningServer, management: Management
) -> None:
    peer = peer_of(server)
    job = peer.submit("1-9").job
    peer.work(room=2)
    held = [peer.next_frame(), peer.next_frame()]
    for _, render in held:
        peer.tell(Started(**_attempt(render)))  # type: ignore[arg-type]
    peer.until(lambda: peer.show(job).counts.get("rendering") == 2)
    vhost = server.broker_url.rsplit("/", 1)[1]
    management.delete_vhost(vhost)
    management.create_vhost(vhost)
    began = time.monotonic()
    again = peer.next_frame()
    assert time.monotonic() - began < 20, "the broker got its frames again late"
    assert again[1].issue == 2
    for delivery, render in [*held, again]:
        peer.finish(delivery, render)
    for _ in range(6):
        peer.report()
        peer.finish(*peer.next_frame())
    peer.until(lambda: peer.show(job).state == "done")
    peer.link.close()


def test_a_delivery_that_is_held_too_long_comes_again_over_a_connection_that_is_opened_anew(
    new_private_broker: Callable[..., PrivateBroker], broker_kind: str
) -> None:
    """RabbitMQ closes the channel alone, and pika raises nothing."""
    if broker_kind != "local":
        pytest.skip("a container takes no further settings")
    broker = new_private_broker("impatient")
    broker.folder.mkdir()
    impatience = "[{rabbit, [{consumer_timeout, 1000}, {channel_tick_interval, 500}]}]."
    (broker.folder / "none-advanced.config").write_text(impatience)
    link = Link(broker.start(foreground=True).amqp_url, name="slow", queues=[Queue(name="slow")])
    taken: list[Delivery] = []
    link.consume(Consumer(queue="slow", tag="slow", on_delivery=taken.append))
    link.start()
    link.publish_all([Outgoing(exchange="", key="slow", body=b"x")], PATIENCE)
    wait_for(lambda: len(taken) >= 2)
    assert taken[1].redelivered
    wait_for(lambda: link.session >= 2)
    link.close()


def test_a_broker_under_an_alarm_is_named_and_consumers_go_on(
    new_private_broker: Callable[..., PrivateBroker], broker_kind: str
) -> None:
    if broker_kind != "local":
        pytest.skip("a container's control program is not at hand")
    broker = new_private_broker("full")
    url = broker.start(foreground=True).amqp_url
    queue = Queue(name="work")
    sender = Link(url, name="sender", queues=[queue, client_queue("sender")])
    taker = Link(url, name="taker", queues=[queue])
    taken: list[Delivery] = []
    taker.consume(Consumer(queue="work", tag="work", on_delivery=taken.append))
    for link in (sender, taker):
        link.start()
    sender.publish_all([Outgoing(exchange="", key="work", body=b"1")] * 3, PATIENCE)
    control(broker, "set_disk_free_limit", "999999GB")
    sender.publish(Outgoing(exchange="", key="work", body=b"waits"))
    wait_for(lambda: sender.blocked is not None)
    with pytest.raises(BrokerUnavailable, match="takes no messages now"):
        Requester(sender, "client.sender").ask(jobs.Describe(), jobs.Description, queue="work", timeout=0.2)
    for number in range(3):
        wait_for(lambda number=number: len(taken) == number + 1)  # type: ignore[misc]
        taker.acknowledge(taken[-1])
    control(broker, "set_disk_free_limit", "1MB")
    wait_for(lambda: len(taken) == 4)
    assert (taken[-1].body, sender.blocked) == (b"waits", None)
    for link in (sender, taker):
        link.close()


def control(broker: PrivateBroker, *arguments: str) -> None:
    """Run rabbitmqctl against a node of this machine."""
    known = broker.wait_ready()
    environment = broker._environment(known)  # type: ignore[attr-defined]
    program = server_program.find()
    assert program is not None
    command = [str(program.with_name("rabbitmqctl")), "-n", known.node, *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)


def test_a_server_without_a_database_for_a_while_answers_and_goes_on(server: RunningServer) -> None:
    peer = peer_of(server)
    job = peer.submit("1-2").job
    peer.work()
    first, second = peer.next_frame(), peer.next_frame()
    file = server.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        peer.finish(*first)
        with pytest.raises(OutputError, match="database refuses: database is locked"):
            peer.show(job)
        other.execute("ROLLBACK")
    peer.finish(*second)
    peer.until(lambda: peer.show(job).state == "done")
    peer.link.close()


@pytest.fixture
def pages() -> Iterator[list[int]]:
    """The most pages that databases may have, while it is not empty: a disk without room."""
    most: list[int] = []

    def limit(connection: object) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={most[0] if most else 2**30}")  # type: ignore[attr-defined]

    event.listen(Engine, "begin", limit)
    yield most
    event.remove(Engine, "begin", limit)


def test_a_full_disk_under_the_database_stops_no_answer_and_costs_no_attempt(
    pages: list[int], server: RunningServer
) -> None:
    peer = peer_of(server)
    job = peer.submit("1-400").job
    peer.work(room=400)
    taken = [peer.next_frame() for _ in range(50)]
    pages.append(1)
    for delivery, render in taken:
        peer.finish(delivery, render)
    with pytest.raises(OutputError, match="database refuses: database or disk is full"):
        peer.submit("1-5000")
    assert peer.show(job).counts.get("failed") is None
    pages.clear()
    for _ in range(350):
        peer.finish(*peer.next_frame())
    peer.until(lambda: peer.show(job).state == "done")
    [attempt] = peer.requester.ask(jobs.ListAttempts(job=job, frame=1), jobs.Attempts).attempts
    assert attempt.state == "done"
    peer.link.close()


def test_a_delivery_counts_how_often_workers_have_left_it_and_is_buried_for_the_server(vhost_url: str) -> None:
    """What worker/intake.py builds on, in every version of RabbitMQ."""
    returns: list[int] = []
    for number in range(4):
        worker = Link(vhost_url, name=f"worker {number}", exchanges=EXCHANGES, queues=[frames_queue(QUEUE)])
        found: list[object] = []
        worker.start()
        if number == 0:
            worker.publish_all([Outgoing(exchange=FRAMES, key=QUEUE, body=b"frame")], PATIENCE)
        worker.consume(Consumer(queue=QUEUE, tag="frames", on_delivery=found.append))
        wait_for(lambda found=found: bool(found))
        returns.append(int(found[0].headers.get("x-delivery-count") or 0))  # type: ignore[attr-defined]
        worker.close()
    assert returns == [0, 1, 2, 3]
