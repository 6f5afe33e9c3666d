"""Private brokers, with the real RabbitMQ: of this machine or in a container, as `--broker` says."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import httpx
import pika
import psutil
import pytest
from brokers import Broker, Kind

from distren.broker import credentials, ports, readiness
from distren.broker.choose import private_broker
from distren.broker.management import Management
from distren.broker.node import Node
from distren.broker.private import PrivateBroker
from distren.errors import AccessRefused, BrokerUnavailable, Conflict, DistrenError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
QUORUM = {"x-queue-type": "quorum"}
MakeBroker = Callable[..., PrivateBroker]


def publish(url: str, queue: str, text: str, **arguments: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments=arguments)
        channel.basic_publish("", queue, text.encode(), pika.BasicProperties(delivery_mode=2))


def fetch(url: str, queue: str) -> str | None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        _, _, body = connection.channel().basic_get(queue, auto_ack=True)
        return body.decode() if body is not None else None


def fetch_when_led(url: str, queue: str) -> str | None:
    """A quorum queue has no leader for a moment after a restart, and then nothing to give."""
    end = time.monotonic() + 20
    while (got := fetch(url, queue)) is None and time.monotonic() < end:
        time.sleep(0.1)
    return got


def wait_until(condition: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_stop_at_once_after_a_publish_keeps_everything(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    first = broker.start()
    publish(first.amqp_url, "classic", "one")
    publish(first.amqp_url, "quorum", "two", **QUORUM)
    assert broker.stop()
    assert not broker.status().running
    assert broker.start() == first
    assert fetch(first.amqp_url, "classic") == "one"
    assert fetch_when_led(first.amqp_url, "quorum") == "two"


def test_a_kill_keeps_data_and_ports(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    first = broker.start()
    publish(first.amqp_url, "quorum", "one", **QUORUM)
    publish(first.amqp_url, "classic", "two")
    broker.stop()  # RabbitMQ may forget a queue that is younger than a few seconds when it is killed, but no message
    broker.start()
    publish(first.amqp_url, "quorum", "three", **QUORUM)
    publish(first.amqp_url, "classic", "four")
    broker.kill()
    assert not broker.status().running
    assert broker.start() == first
    assert [fetch_when_led(first.amqp_url, "quorum") for _ in range(2)] == ["one", "three"]
    assert [fetch(first.amqp_url, "classic") for _ in range(2)] == ["two", "four"]


def test_status_tells_what_runs_and_what_does_not(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    before = broker.status()
    assert (before.running, before.ready, before.amqp_url, before.pid) == (False, False, None, None)
    known = broker.start()
    during = broker.status()
    assert (during.running, during.ready) == (True, True)
    assert (during.amqp_url, during.management_url) == (known.amqp_url, known.management_url)
    assert during.version is not None
    assert during.version[0] in "34"
    assert during.pid is not None
    assert broker.stop()
    after = broker.status()
    assert (after.running, after.ready, after.pid, after.amqp_url) == (False, False, None, known.amqp_url)
    assert not broker.stop()


def test_credentials_and_cookie_are_readable_by_their_owner_only(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    known = broker.start()
    secrets = [known.password, known.cookie]
    holders = [
        path
        for path in broker.folder.rglob("*")
        if path.is_file() and "data" not in path.parts and any(each.encode() in path.read_bytes() for each in secrets)
    ]
    assert broker.folder / credentials.FILE in holders
    assert [path for path in holders if stat.S_IMODE(path.stat().st_mode) != 0o600] == []
    assert stat.S_IMODE(broker.folder.stat().st_mode) == 0o700


def test_a_wrong_password_is_refused(private_node: PrivateBroker) -> None:
    known = private_node.wait_ready()
    with pytest.raises(AccessRefused, match="password of user 'distren'"):
        readiness.log_in(known.amqp_url.replace(known.password, "wrong"))
    with Management(known.management_url, known.user, "wrong") as management, pytest.raises(AccessRefused):
        management.overview()


def test_two_brokers_run_side_by_side(new_private_broker: MakeBroker) -> None:
    one, two = new_private_broker("one", cluster_name="alpha"), new_private_broker("two", cluster_name="beta")
    first, second = one.start(), two.start()
    assert not set(asdict(first.ports).values()) & set(asdict(second.ports).values())
    publish(first.amqp_url, "here", "one")
    with Management.of(first) as management:
        assert management.cluster_name() == "alpha"
        assert management.queue("here")["name"] == "here"
    with Management.of(second) as management:
        assert management.cluster_name() == "beta"
        assert management.queues() == []
    one.stop()
    assert two.status().ready


def test_a_second_start_is_refused(private_node: PrivateBroker) -> None:
    with pytest.raises(Conflict, match="already running"):
        private_broker(private_node.folder).start()
    assert private_node.status().ready


def test_of_two_starts_at_once_one_wins(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    results: list[object] = []

    def start() -> None:
        try:
            results.append(private_broker(broker.folder).start())
        except DistrenError as error:
            results.append(type(error))

    broker.folder.mkdir()
    credentials.write(broker.folder, new_credentials(broker))
    threads = [Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(Conflict) == 1
    assert broker.status().ready


def new_credentials(broker: PrivateBroker) -> credentials.Credentials:
    kind: credentials.Kind = "container" if broker.status().kind == "container" else "node"
    with ExitStack() as claims:
        return credentials.generate(kind, ports.pick(claims))


def test_a_port_that_is_taken_meanwhile_gives_one_line(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    known = broker.start()
    broker.kill()
    with socket.create_server(("127.0.0.1", known.ports.management), reuse_port=False):
        with pytest.raises(Conflict, match=rf"port {known.ports.management} \(management\)") as caught:
            broker.start()
        assert "\n" not in str(caught.value)
    assert broker.start() == known


def test_the_rest_of_a_start_that_failed_is_cleared_away(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    broker.start()
    broker.kill()
    (broker.folder / "made").unlink()  # as if it had been killed before it was ready
    known = broker.start()
    readiness.log_in(known.amqp_url)


def test_a_broker_in_the_foreground_ends_with_its_process(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    broker.start()  # settles the kind, so that the other process finds it
    broker.stop()
    code = (
        "import sys, pathlib; from distren.broker.choose import private_broker as make\n"
        "make(pathlib.Path(sys.argv[1])).start(foreground=True); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(broker.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        assert broker.status().ready
        other.kill()
    wait_until(lambda: not broker.status().running, "the broker outlived the process that it belongs to")


def test_it_listens_on_loopback_only_and_leaves_nothing_behind(private_node: PrivateBroker, broker_kind: Kind) -> None:
    known = private_node.wait_ready()
    numbers = set(asdict(known.ports).values())
    listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    ours = [each for each in listening if each.laddr.port in numbers]
    assert {known.ports.amqp, known.ports.management, known.ports.prometheus} <= {each.laddr.port for each in ours}
    assert {each.laddr.ip for each in ours} <= {"127.0.0.1", "::1"}
    assert 5672 not in numbers
    if broker_kind == "local":
        leader = private_node.status().pid
        assert leader is not None
        session = session_of(leader)
        of_session = {each.laddr.port for each in listening if each.pid in session}
        assert of_session == numbers
        private_node.stop()
        assert [each for each in session_of(leader) if psutil.Process(each).status() != psutil.STATUS_ZOMBIE] == []
    else:
        private_node.stop()
    assert not readiness.greets("127.0.0.1", known.ports.amqp)


def session_of(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader:
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def test_all_plugins_that_the_farm_needs_are_on(private_node: PrivateBroker) -> None:
    known = private_node.wait_ready()
    with Management.of(known) as management:
        assert management.request("GET", "shovels") == []
        assert management.request("GET", "federation-links") == []
    metrics = httpx.get(f"http://127.0.0.1:{known.ports.prometheus}/metrics", trust_env=False)
    assert "rabbitmq_build_info" in metrics.text


def test_waiting_for_a_broker_that_ended_ends(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    broker.start()
    broker.kill()
    with pytest.raises(BrokerUnavailable, match="ended before it was ready"):
        broker.wait_ready()


def test_a_program_that_is_no_rabbitmq_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, script in {"rabbitmq-server": "echo 'Error: this is no broker' >&2", "epmd": "exec sleep 60"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    node = Node(tmp_path / "node", server=tmp_path / "rabbitmq-server")
    with pytest.raises(BrokerUnavailable, match="Error: this is no broker") as caught:
        node.start()
    assert "\n" not in str(caught.value)
    assert not node.status().running


def test_each_test_gets_an_empty_virtual_host(broker: Broker, vhost_url: str) -> None:
    publish(vhost_url, "here", "one")
    with broker.management() as management:
        assert [each["name"] for each in management.queues(vhost_url.rpartition("/")[2])] == ["here"]
        assert management.queues() == []
