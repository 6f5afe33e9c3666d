"""Federation: a bundle between two brokers against one bare shovel, and what an idle link between two peers costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pika

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, in_turns, say
from benchmarks.sites import associate, site, two_brokers
from distren.broker.credentials import Credentials
from distren.broker.management import Management

BUNDLE = 500
"""MB (10^6 bytes), in PARTS frame tarballs"""
PARTS = 8
IDLE = 60.0
"""seconds over which an idle link is watched"""
_PIECE = 2**20
_LIMIT = 120.0
"""seconds"""


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    """`farm` has the one broker; the other one is started here."""
    folder = farm.folder / "federation"
    with ExitStack() as stack:
        here, there = stack.enter_context(two_brokers(farm, folder))
        alpha = stack.enter_context(site("alpha", folder, here))
        beta = stack.enter_context(site("beta", folder, there))
        associate(alpha, beta)
        blobs = [beta.do(put=str(_part(folder, number))) for number in range(PARTS)]
        alpha.do(**{"from": "beta", "fetch": blobs[:1]})  # both know each other, and all is warm
        samples = in_turns(
            rounds,
            {
                "bundle": lambda: BUNDLE / alpha.do(**{"from": "beta", "fetch": blobs}),
                "shovel": lambda: BUNDLE / _bare_shovel(there, here),
                "shovel in use": lambda: BUNDLE / _shovel_in_use(there, here),
            },
        )
        of_bare = median(samples["bundle"]) / median(samples["shovel"])
        yield Row(
            name="between brokers",
            what=f"bundle of {BUNDLE} MB from beta's store into alpha's ({median(samples['bundle']):.0f} MB/s) / "
            f"one bare shovel with a full queue of 1 MiB messages ({median(samples['shovel']):.0f} MB/s; "
            f"{median(samples['shovel in use']):.0f} while one client fills and one empties it)",
            figure=of_bare,
            unit="x",
            need="at least",
            bar=0.7,
            samples=samples,
            notes={"of a shovel in use": median(samples["bundle"]) / median(samples["shovel in use"])},
        )
        traffic = _idle_traffic(there)
        yield Row(
            name="idle peer",
            what=f"bytes/s between two idle peers, both directions, over {IDLE:.0f} s",
            figure=traffic,
            unit="B/s",
            need="at most",
            bar=1_000,
            samples={"bytes/s": [traffic]},
        )


def _part(folder: Path, number: int) -> Path:
    path = folder / f"part-{number}"
    path.write_bytes(os.urandom(BUNDLE * 10**6 // PARTS))
    return path


# -- shovels without DistRen -------------------------------------------------------------------------------------------


@contextmanager
def _two_queues(source: Credentials, target: Credentials) -> Iterator[tuple[str, str, Management]]:
    """An empty vhost at each broker with a queue `bare`; the URLs of both, and the API of the target."""
    with Management.of(source) as at_source, Management.of(target) as at_target:
        for api in (at_source, at_target):
            api.create_vhost("bare")
            api.declare_queue("bare", "bare")
        try:
            yield f"{source.amqp_url}bare", f"{target.amqp_url}bare", at_target
        finally:
            for api in (at_source, at_target):
                api.delete_vhost("bare")


def _shovel(source: str, api: Management) -> None:
    """On the target's broker, as those of a peer that was added."""
    definition = {
        "src-protocol": "amqp091",
        "src-uri": source,
        "src-queue": "bare",
        "src-prefetch-count": 64,
        "dest-protocol": "amqp091",
        "dest-uri": "amqp:///bare",
        "dest-queue": "bare",
        "ack-mode": "on-confirm",
    }
    api.put_shovel("bare", "bare", definition)


def _bare_shovel(source: Credentials, target: Credentials) -> float:
    """Seconds from the first message at the target to the last; the source is full before."""
    with _two_queues(source, target) as (source_url, target_url, api):
        count = _fill(source_url)
        with _channel(target_url) as channel:
            _shovel(source_url, api)
            first, before = 0.0, 0
            while (there := channel.queue_declare("bare", passive=True).method.message_count) < count:
                if there and not first:
                    first, before = time.monotonic(), there
                time.sleep(0.002)
            seconds = time.monotonic() - first
        return seconds * count / max(count - before, 1)


def _shovel_in_use(source: Credentials, target: Credentials) -> float:
    """Seconds from the first message taken at the target to the last, while they are put in at the source."""
    with _two_queues(source, target) as (source_url, target_url, api):
        _shovel(source_url, api)
        filling = subprocess.Popen([sys.executable, "-c", _FILLER, source_url, str(BUNDLE * 10**6 // _PIECE)])
        try:
            with _channel(target_url) as channel:
                began, taken = 0.0, 0
                for _ in channel.consume("bare", auto_ack=True):
                    began, taken = began or time.monotonic(), taken + 1
                    if taken == BUNDLE * 10**6 // _PIECE:
                        break
                return time.monotonic() - began
        finally:
            filling.wait(60)


_FILLER = """
import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel, body = connection.channel(), bytes(2**20)
for _ in range(int(sys.argv[2])):
    channel.basic_publish("", "bare", body)
connection.close()
"""


def _fill(url: str) -> int:
    count = BUNDLE * 10**6 // _PIECE
    with _channel(url) as channel:
        channel.confirm_delivery()
        for _ in range(count):
            channel.basic_publish("", "bare", os.urandom(_PIECE))
    return count


@contextmanager
def _channel(url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        connection.close()


# -- doing nothing -----------------------------------------------------------------------------------------------------


def _idle_traffic(there: Credentials) -> float:
    """Bytes/s that pass through the connections of the peer's user, AMQP and its heartbeats included."""
    say(f"  nothing happens for {IDLE:.0f} s")
    with Management.of(there) as api:
        time.sleep(12)  # the figures of the last transfer have been taken by then
        before, began = _octets(api), time.monotonic()
        time.sleep(IDLE)
        return (_octets(api) - before) / (time.monotonic() - began)


def _octets(api: Management) -> int:
    mine = [one for one in api.connections() if one.get("user") == "peer_beta_alpha"]
    return sum(int(one.get("recv_oct", 0)) + int(one.get("send_oct", 0)) for one in mine)
