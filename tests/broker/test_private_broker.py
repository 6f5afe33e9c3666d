"""Private brokers, with the real RabbitMQ: of this machine or in a container, as `--broker` says."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Thread

import brokers
import httpx
import pika
import psutil
import pytest
from brokers import Broker, Kind
from processes import has_ended
from waiting import wait_for

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
    found: list[str] = []

    def is_led() -> bool:
        if (got := fetch(url, queue)) is not None:
            found.append(got)
        return bool(found)

    wait_for(is_led)
    return found[0]


@pytest.fixture(scope="module")
def running(broker_kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker that no test stops."""
    made = brokers.private(broker_kind, tmp_path_factory.mktemp("running") / "broker", cluster_name="alpha")
    made.start(foreground=True)
    yield made
    made.erase()


@pytest.fixture(scope="module")
def once_started(broker_kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker that was ready once, and was killed."""
    made = brokers.private(broker_kind, tmp_path_factory.mktemp("once started") / "broker")
    made.start()
    made.kill()
    yield made
    made.erase()


@pytest.fixture
def killed(once_started: PrivateBroker) -> Iterator[PrivateBroker]:
    """The same, for a test that starts it: it is killed again."""
    yield once_started
    once_started.kill()


def test_stops_and_kills_keep_data_and_ports(new_private_broker: MakeBroker) -> None:
    broker = new_private_broker()
    first = broker.start()
    publish(first.amqp_url, "quorum", "one", **QUORUM)
    publish(first.amqp_url, "classic", "two")
    assert broker.stop()  # RabbitMQ may forget a queue that is a few seconds old when it is killed, but no message
    assert not broker.status().running
    assert broker.start() == first
    assert fetch_when_led(first.amqp_url, "quorum") == "one"
    publish(first.amqp_url, "quorum", "three", **QUORUM)
    publish(first.amqp_url, "classic", "four")
    broker.kill()
    assert not broker.status().running
    assert broker.start() == first
    assert fetch_when_led(first.amqp_url, "quorum") == "three"
    assert [fetch(first.amqp_url, "classic") for _ in range(2)] == ["two", "four"]


def test_status_tells_what_runs_and_what_does_not(killed: PrivateBroker, new_private_broker: MakeBroker) -> None:
    never = new_private_broker().status()
    assert (never.running, never.ready, never.amqp_url, never.pid) == (False, False, None, None)
    known = killed.start()
    during = killed.status()
    assert (during.running, during.ready) == (True, True)
    assert (during.amqp_url, during.management_url) == (known.amqp_url, known.management_url)
    assert during.version is not None
    assert during.version[0] in "34"
    assert during.pid is not None
    assert killed.stop()
    after = killed.status()
    assert (after.running, after.ready, after.pid, after.amqp_url) == (False, False, None, known.amqp_url)
    assert not killed.stop()


def test_credentials_and_cookie_are_readable_by_their_owner_only(running: PrivateBroker) -> None:
    known = running.wait_ready()
    secrets = [known.password, known.cookie]
    holders = [
        path
        for path in running.folder.rglob("*")
        if path.is_file() and "data" not in path.parts and any(each.encode() in path.read_bytes() for each in secrets)
    ]
    assert running.folder / credentials.FILE in holders
    assert [path for path in holders if stat.S_IMODE(path.stat().st_mode) != 0o600] == []
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700


def test_a_broker_that_greets_but_lets_nobody_in_yet_is_waited_for(
    running: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on a loaded machine, which may take longer for a login than a login is waited for."""
    log_in, tries = readiness.log_in, 0

    def slow_at_first(url: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise BrokerUnavailable("no answer in time")
        log_in(url)

    monkeypatch.setattr(readiness, "log_in", slow_at_first)
    running.wait_ready()
    assert tries == 3


def test_a_wrong_password_is_refused(running: PrivateBroker) -> None:
    known = running.wait_ready()
    with pytest.raises(AccessRefused, match="password of user 'distren'"):
        readiness.log_in(known.amqp_url.replace(known.password, "wrong"))
    with Management(known.management_url, known.user, "wrong") as management, pytest.raises(AccessRefused):
        management.overview()


def test_a_connection_that_has_ended_by_itself_is_not_closed(
    running: PrivateBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the management API lists may be some seconds old."""
    with Management.of(running.wait_ready()) as management:
        old = {"name": "127.0.0.1:1 -> 127.0.0.1:2", "vhost": "gone"}
        monkeypatch.setattr(management, "connections", lambda: [old])
        assert management.close_connections("gone") == 0


def test_two_brokers_run_side_by_side(running: PrivateBroker, new_private_broker: MakeBroker) -> None:
    other = new_private_broker(cluster_name="beta")
    first, second = running.wait_ready(), other.start()
    assert not set(asdict(first.ports).values()) & set(asdict(second.ports).values())
    publish(first.amqp_url, "here", "one")
    with Management.of(first) as management:
        assert management.cluster_name() == "alpha"
        assert management.queue("here")["name"] == "here"
    with Management.of(second) as management:
        assert management.cluster_name() == "beta"
        assert management.queues() == []
    other.stop()
    assert running.status().ready


def test_a_second_start_is_refused(running: PrivateBroker) -> None:
    with pytest.raises(Conflict, match="already running"):
        private_broker(running.folder).start()
    assert running.status().ready


def test_of_two_starts_at_once_one_wins(killed: PrivateBroker) -> None:
    results: list[object] = []

    def start() -> None:
        try:
            results.append(private_broker(killed.folder).start())
        except DistrenError as error:
            results.append(type(error))

    threads = [Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(Conflict) == 1
    assert killed.status().ready


def test_a_port_that_is_taken_meanwhile_gives_one_line(killed: PrivateBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_LINGERING", 0.2)
    known = credentials.read(killed.folder)
    assert known is not None
    with socket.create_server(("127.0.0.1", known.ports.management), reuse_port=False):
        with pytest.raises(Conflict, match=rf"port {known.ports.management} \(management\)") as caught:
            killed.start()
        assert "\n" not in str(caught.value)
    assert killed.start() == known


def test_the_rest_of_a_start_that_failed_is_cleared_away(killed: PrivateBroker) -> None:
    publish(killed.start().amqp_url, "rest", "one")
    killed.kill()
    (killed.folder / "made").unlink()  # as if it had been killed before it was ready
    with Management.of(killed.start()) as management:
        assert management.queues() == []


def test_a_broker_in_the_foreground_ends_with_its_process(killed: PrivateBroker) -> None:
    code = (
        "import sys, pathlib; from distren.broker.choose import private_broker as make\n"
        "make(pathlib.Path(sys.argv[1])).start(foreground=True); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(killed.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        assert killed.status().ready
        other.kill()
    wait_for(lambda: not killed.status().running)


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
        of_session = {each.laddr.port for each in listening if each.pid in {one.pid for one in session}}
        assert of_session == numbers
        private_node.stop()
        wait_for(lambda: all(has_ended(process) for process in session))
        assert all(has_ended(process) for process in session_of(leader))
    else:
        private_node.stop()
    assert not readiness.greets("127.0.0.1", known.ports.amqp)


def session_of(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def test_all_plugins_that_the_farm_needs_are_on(running: PrivateBroker) -> None:
    known = running.wait_ready()
    with Management.of(known) as management:
        assert management.request("GET", "shovels") == []
        assert management.request("GET", "federation-links") == []
    metrics = httpx.get(f"http://127.0.0.1:{known.ports.prometheus}/metrics", trust_env=False)
    assert "rabbitmq_build_info" in metrics.text


def test_waiting_for_a_broker_that_ended_ends(killed: PrivateBroker) -> None:
    with pytest.raises(BrokerUnavailable, match="ended before it was ready"):
        killed.wait_ready()


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
