"""What is left to be done among sites, asked of brokers and databases: nothing, in the end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika

from distren.amqp import peers, topology
from distren.errors import DistrenError
from trials.peers.sites import Site, Sites

_STANDING = (topology.MARK, topology.LEAD)
"""queues that hold one message at all times"""
_TABLES = ("outbox", "peer_outbox", "loans", "loan_jobs", "loan_results", "guests", "guest_frames")


def restless(sites: Sites) -> list[str]:
    """One line for each thing that is not done yet."""
    found: list[str] = []
    for site in sites:
        try:
            found += _of_site(sites, site)
        except (DistrenError, pika.exceptions.AMQPError, OSError, sqlite3.Error) as error:
            found.append(f"{site.name}: {error}")
    return found


def _of_site(sites: Sites, site: Site) -> Iterator[str]:
    with site.at() as farm:
        for peer in farm.peers():
            if peer.state != "up" or peer.owed:
                yield f"{site.name} to {peer.peer}: {peer.state} {peer.reason}, {peer.owed} not confirmed"
    for vhost, queues in _queues(sites, site).items():
        for queue, waiting in queues.items():
            if waiting and queue not in _STANDING:
                yield f"{site.name}: {waiting} wait in {queue} of {vhost}"
    for table, rows in _rows(site.folder / "server" / "server" / "distren.db").items():
        if rows:
            yield f"{site.name}: {rows} rows in {table}"


def _queues(sites: Sites, site: Site) -> dict[str, dict[str, int]]:
    """How many messages wait in each queue, asked over AMQP: the management API's figures may be old."""
    found = {}
    with site.management() as management:
        for vhost in ("/", *(peers.vhost(site.name, peer) for peer in sites.shape.neighbours(site.name))):
            names = [one["name"] for one in management.queues(vhost) if not one.get("exclusive")]
            url = site.direct_url if vhost == "/" else site.vhost_url(peers.names(vhost)[1])
            with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
                channel = connection.channel()
                found[vhost] = {
                    name: int(channel.queue_declare(name, passive=True).method.message_count) for name in names
                }
    return found


def _rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        return {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in _TABLES}
