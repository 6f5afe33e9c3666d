"""What a broker can do to a server: a real one, with the test as client and worker."""

from __future__ import annotations

import queue as queue_module
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import brokers
import pytest
from brokers import control
from players import QUEUE, Player, RunningServer, attempt_at, player_of, running, settings
from waiting import PATIENCE, wait_for
from worker_farm import WorkerFarm

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.publisher import Outgoing
from distren.amqp.requests import Requester
from distren.amqp.topology import DEAD, EXCHANGES, FRAMES, RESULTS, SERVER_QUEUES, Queue, client_queue, frames_queue
from distren.broker.management import Management
from distren.broker.private import PrivateBroker
from distren.errors import BrokerUnavailable, NoAnswer
from distren.wire import jobs
from distren.wire.frames import Completed, Report, Started


def test_a_broker_that_lost_its_data_gets_all_waiting_frames_again_at_once(
    server: RunningServer, management: Management
) -> None:
    player = player_of(server)
    job = player.submit("1-9").job
    player.work(room=2)
    held = [player.next_frame(), player.next_frame()]
    for _, render in held:
        player.tell(Started(**attempt_at(render)))  # type: ignore[arg-type]
    wait_for(lambda: player.show(job).counts.get("rendering") == 2)
    vhost = server.broker_url.rsplit("/", 1)[1]
    management.delete_vhost(vhost)
    management.create_vhost(vhost)
    began = time.monotonic()
    again = player.next_frame()
    assert time.monotonic() - began < 40, "the broker got its frames again late"
    assert again[1].issue == 2
    for delivery, render in [*held, again]:
        player.finish(delivery, render)
    for _ in range(6):
        player.report()
        player.finish(*player.next_frame())
    wait_for(lambda: player.show(job).state == "done")
    player.link.close()


@pytest.fixture(scope="module")
def harmed(broker_kind: brokers.Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker that tests do something to, and take it back."""
    made = brokers.private(broker_kind, tmp_path_factory.mktemp("harmed") / "broker")
    made.start(foreground=True)
    yield made
    made.erase()


def waits_at_most(broker: PrivateBroker, seconds: int, look_every: int) -> None:
    """How long a delivery may be held over channels that are opened from now on."""
    names = {"consumer_timeout": seconds, "channel_tick_interval": look_every}
    sets = [f"application:set_env(rabbit, {name}, {value * 1000})" for name, value in names.items()]
    control(broker, "eval", ", ".join(sets) + ".")


def test_a_delivery_that_is_held_too_long_comes_again_over_a_connection_that_is_opened_anew(
    harmed: PrivateBroker,
) -> None:
    """RabbitMQ closes the channel alone, and pika raises nothing."""
    waits_at_most(harmed, 1, look_every=1)
    link = Link(harmed.wait_ready().amqp_url, name="slow", queues=[Queue(name="slow")])
    taken: list[Delivery] = []
    link.consume(Consumer(queue="slow", tag="slow", on_delivery=taken.append))
    link.start()
    link.publish_all([Outgoing(exchange="", key="slow", body=b"x")], PATIENCE)
    wait_for(lambda: len(taken) >= 2)
    assert taken[1].redelivered
    wait_for(lambda: link.session >= 2)
    link.close()
    waits_at_most(harmed, 1800, look_every=60)


@pytest.mark.timeout(400)
def test_a_queue_without_a_leader_is_made_again_and_its_frames_are_issued_again(
    harmed: PrivateBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a crash within 3 s of a queue's declaration leaves behind: the queue is known, and does not run."""
    known = harmed.wait_ready()
    with Management.of(known) as management:
        management.create_vhost("leaderless")
    with running(f"{known.amqp_url.rstrip('/')}/leaderless", settings(tmp_path / "farm")) as server:
        player, worker = player_of(server), player_of(server)
        job = player.submit("1-9").job
        worker.work(room=2)
        ready = [worker.next_frame()]
        ended = [f"ra:force_delete_server(quorum_queues, {{'leaderless_{one}', node()}})" for one in (QUEUE, RESULTS)]
        control(harmed, "eval", ", ".join(["application:set_env(kernel, net_ticktime, 1)", *ended]) + ".")
        with Management.of(known) as management:
            wait_for(lambda: management.close_connections("leaderless") > 0)
        began = time.monotonic()
        while _state(player, job) != "done":
            assert time.monotonic() - began < 3 * PATIENCE  # 70 s where nothing is to be published: docs/reliability.md
            player.report(room=2)
            with suppress(queue_module.Empty):
                delivery, render = ready.pop() if ready else worker.frames.get(timeout=1.0)
                player.finish(replace(delivery, session=-1), render)
                worker.link.acknowledge(delivery)
        for each in (player, worker):
            each.link.close()
    for queue in (QUEUE, RESULTS):
        assert f"queue {queue} has no leader any more" in caplog.text


def _state(player: Player, job: int) -> str:
    """A reply that was under way when a connection was lost does not come."""
    with suppress(NoAnswer):
        return player.requester.ask(jobs.ShowJob(job=job), jobs.ShownJob, timeout=2.0).job.state
    return "unknown"


def test_a_broker_under_an_alarm_is_named_and_consumers_go_on(harmed: PrivateBroker) -> None:
    url = harmed.wait_ready().amqp_url
    queue = Queue(name="work")
    sender = Link(url, name="sender", queues=[queue, client_queue("sender")])
    taker = Link(url, name="taker", queues=[queue])
    taken: list[Delivery] = []
    taker.consume(Consumer(queue="work", tag="work", on_delivery=taken.append))
    for link in (sender, taker):
        link.start()
    sender.publish_all([Outgoing(exchange="", key="work", body=b"1")] * 3, PATIENCE)
    control(harmed, "set_disk_free_limit", "999999GB")
    sender.publish(Outgoing(exchange="", key="work", body=b"waits"))
    wait_for(lambda: sender.blocked is not None)
    with pytest.raises(BrokerUnavailable, match="takes no messages now"):
        Requester(sender, "client.sender").ask(jobs.Describe(), jobs.Description, queue="work", timeout=0.2)
    for number in range(3):
        wait_for(lambda number=number: len(taken) == number + 1)  # type: ignore[misc]
        taker.acknowledge(taken[-1])
    control(harmed, "set_disk_free_limit", "1MB")
    wait_for(lambda: len(taken) == 4)
    assert (taken[-1].body, sender.blocked) == (b"waits", None)
    for link in (sender, taker):
        link.close()


def test_reports_do_not_pile_up_while_the_broker_takes_none(harmed: PrivateBroker, tmp_path: Path) -> None:
    farm = WorkerFarm(harmed.wait_ready().amqp_url, tmp_path)
    worker = farm.worker(sandbox="off")
    farm.render(1, f"echo x >out; touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    wait_for((tmp_path / "begun").exists)
    control(harmed, "set_vm_memory_high_watermark", "0.00001")
    results = worker._lines.results
    worker.drain()
    wait_for(lambda: results.blocked is not None)
    for _ in range(100):
        worker.drain()  # each has it report
    wait_for(worker._orders.empty)
    (tmp_path / "go").touch()
    control(harmed, "set_vm_memory_high_watermark", "0.4")
    assert farm.next(Completed).frame == 1
    farm.next(Report, lambda one: one.state == "ended")
    assert len([one for one in farm.kept if isinstance(one, Report) and one.state == "draining"]) < 5
    farm.close()


def test_a_delivery_counts_how_often_workers_have_left_it_and_is_buried_for_the_server(vhost_url: str) -> None:
    """What worker/intake.py builds on, in every version of RabbitMQ: by default 3.10 has no limit, 4.x one of 20."""
    returns: list[int] = []
    for number in range(4):
        worker = Link(vhost_url, name=f"worker {number}", exchanges=EXCHANGES, queues=[frames_queue(QUEUE)])
        found: list[Delivery] = []
        worker.start()
        if number == 0:
            worker.publish_all([Outgoing(exchange=FRAMES, key=QUEUE, body=b"frame")], PATIENCE)
        worker.consume(Consumer(queue=QUEUE, tag="frames", on_delivery=found.append))
        wait_for(lambda found=found: bool(found))
        returns.append(int(found[0].headers.get("x-delivery-count") or 0))
        worker.close()
    assert returns == [0, 1, 2, 3]
    tired = Link(vhost_url, name="tired", exchanges=EXCHANGES, queues=[*SERVER_QUEUES, frames_queue(QUEUE)])
    again: list[Delivery] = []
    dead: list[Delivery] = []

    def give_back(delivery: Delivery) -> None:
        again.append(delivery)
        tired.give_back(delivery)

    tired.consume(Consumer(queue=QUEUE, tag="frames", on_delivery=give_back))
    tired.consume(Consumer(queue=DEAD, tag="dead", on_delivery=dead.append, automatic=True))
    tired.start()
    wait_for(lambda: bool(dead))
    assert (dead[0].body, len(returns) + len(again)) == (b"frame", 21)
    tired.close()
