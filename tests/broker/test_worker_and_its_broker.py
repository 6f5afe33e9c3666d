"""What passes between a worker and its broker, however often the connection is lost."""

from __future__ import annotations

import queue
from pathlib import Path

from waiting import PATIENCE, wait_for
from worker_farm import WorkerFarm

from distren.amqp import topology
from distren.amqp.link import Consumer, Delivery
from distren.amqp.publisher import Outgoing
from distren.broker.management import Management
from distren.wire.frames import Completed, Failed, Report, Started, Stop


def test_a_frame_that_is_called_off_ends_and_does_not_come_back(farm: WorkerFarm) -> None:
    worker = farm.worker()
    farm.render(1, "sleep 60")
    farm.next(Started)
    farm.tell(Stop(job=1, frames=[1]))
    farm.render(2, "echo x >out")
    assert farm.next(Completed).frame == 2
    worker.drain()
    wait_for(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0
    assert not [message for message in farm.kept if isinstance(message, Failed)]


def test_a_second_delivery_of_a_frame_in_hand_does_not_render_it_twice(farm: WorkerFarm) -> None:
    worker = farm.worker(slots=2, sandbox="off")
    runs = farm.folder / "runs"
    for _ in range(2):
        farm.render(1, f"echo run >>{runs}; sleep 0.5; echo x >out")
    farm.render(2, "sleep 0.6; echo x >out")
    assert {farm.next(Completed).frame for _ in range(2)} == {1, 2}
    assert runs.read_text() == "run\n"
    worker.drain()
    wait_for(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def test_a_render_outlives_a_lost_connection_and_is_not_rendered_twice(
    farm: WorkerFarm, management: Management
) -> None:
    worker = farm.worker(sandbox="off")
    runs, go = farm.folder / "runs", farm.folder / "go"
    farm.render(1, f"echo run >>{runs}; while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    first = farm.next(Started)
    vhost, session = farm.url.rsplit("/", 1)[1], farm.link.session
    wait_for(lambda: management.close_connections(vhost) >= 4)  # ours, the blobs', and both of the worker
    wait_for(lambda: farm.link.session > session)
    farm.next(Report, lambda report: report.held == [first.token])
    go.touch()
    assert farm.next(Completed).token == first.token
    worker.drain()
    wait_for(lambda: farm.has_ended(worker))
    assert runs.read_text() == "run\n"
    assert farm.waiting() == 0


def test_a_result_that_is_ready_while_the_connection_is_down_is_sent_later(
    farm: WorkerFarm, management: Management
) -> None:
    farm.worker(slots=2)
    vhost = farm.url.rsplit("/", 1)[1]
    wait_for(lambda: management.close_connections(vhost) >= 4)
    for frame in range(20):
        farm.render(frame, "sleep 0.05; echo x >out")
        if frame in (5, 10):
            management.close_connections(vhost)
    done: set[int] = set()
    while done != set(range(20)):
        done.add(farm.next(Completed).frame)


def test_a_long_frame_is_acknowledged_early_and_reported_as_held(farm: WorkerFarm) -> None:
    worker = farm.worker(early=0.5)
    go = farm.folder / "go"
    farm.render(1, f"while [ ! -e {go} ]; do sleep 0.05; done; echo x >out")
    farm.next(Started)
    # One slot and no room beside it: when the room is 0, the frame is acknowledged and holds its slot all the same.
    report = farm.next(Report, lambda report: report.room == 0)
    assert report.held_frames == [(1, 1)]
    worker.give_back()
    wait_for(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def test_results_wait_until_a_server_has_its_queue(vhost_url: str, tmp_path: Path) -> None:
    farm = WorkerFarm(vhost_url, tmp_path)
    try:
        farm.worker()
        farm.link.cancel(topology.RESULTS)
        delete_queue(vhost_url, topology.RESULTS)
        farm.render(1, "echo x >out")
        farm.next(Started)
        for queue_ in topology.SERVER_QUEUES:
            farm.link.declare(queue_)
        farm.link.consume(Consumer(queue=topology.RESULTS, tag="again", on_delivery=farm._hear, automatic=True))
        assert farm.next(Completed).frame == 1
    finally:
        farm.close()


def test_an_unreadable_frame_goes_to_the_dead_letters_and_the_worker_goes_on(farm: WorkerFarm) -> None:
    farm.worker()
    dead: queue.Queue[Delivery] = queue.Queue()
    farm.link.consume(Consumer(queue=topology.DEAD, tag="dead", on_delivery=dead.put, automatic=True))
    farm.link.publish(Outgoing(exchange=topology.FRAMES, key=farm.queue, body=b"nonsense"))
    assert dead.get(timeout=PATIENCE).body == b"nonsense"
    farm.render(1, "echo x >out")
    farm.next(Completed)


def test_short_frames_are_taken_ahead_and_all_arrive_once(farm: WorkerFarm) -> None:
    worker = farm.worker(slots=2)
    for frame in range(100):
        farm.render(frame, "echo x >out")
    assert sorted(farm.next(Completed).frame for _ in range(100)) == list(range(100))
    farm.next(Report, lambda report: report.room > 2)
    worker.drain()
    wait_for(lambda: farm.has_ended(worker))
    assert farm.waiting() == 0


def delete_queue(url: str, name: str) -> None:
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_delete(name)
    connection.close()
