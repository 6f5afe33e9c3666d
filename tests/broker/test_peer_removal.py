"""A peer that is removed leaves nothing behind, and what it had is rendered at home."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from brokers import Broker
from hands import Hands, held, needing, submit
from sites import Site, Two, associate, pair, part
from sqlalchemy import func, select
from waiting import wait_for

from distren.broker.management import Management
from distren.federation import operator
from distren.storage import tables
from distren.wire.jobs import ShowJob

pytestmark = pytest.mark.usefixtures("soon")
OF_PEERS = (
    tables.peers,
    tables.peer_outbox,
    tables.peer_jobs,
    tables.loans,
    tables.loan_jobs,
    tables.loan_results,
    tables.guests,
    tables.guest_frames,
    tables.watches,
)


@pytest.fixture(scope="module")
def strangers(
    soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker
) -> Iterator[Two]:
    """Two servers that are no peers, until a test makes them so."""
    with pair(tmp_path_factory.mktemp("sites"), other_broker, broker) as made:
        part(*made)
        yield made


def on_the_broker(at: Site, management: Management) -> object:
    """All that there is on the broker of a site, but for what its own virtual host holds."""
    kinds = {kind: each for kind, each in management.request("GET", "definitions").items() if isinstance(each, list)}
    for what in ("shovels", "connections"):
        kinds[what] = [{key: one.get(key) for key in ("name", "vhost")} for one in management.request("GET", what)]
    return {kind: sorted(str(one) for one in each if one.get("vhost") != at.vhost) for kind, each in kinds.items()}


def in_the_database(at: Site) -> dict[str, int]:
    """How many rows there are of everything that is a peer's."""
    with at.engine.begin() as connection:
        counts = {
            each.name: connection.execute(select(func.count()).select_from(each)).scalar_one() for each in OF_PEERS
        }
    return {name: count for name, count in counts.items() if count}


def done(at: Site, job: int) -> bool:
    with at.farm() as farm:
        return farm.job(job).info().state == "done"


def test_removing_a_peer_in_mid_work_leaves_nothing_on_both_brokers_and_in_both_databases(strangers: Two) -> None:
    alpha, beta = strangers
    with alpha.broker.management() as api, beta.broker.management() as other_api:
        before = on_the_broker(alpha, api), on_the_broker(beta, other_api)
        associate(alpha, beta)
        with Hands(beta, slots=2) as theirs:
            theirs.go.clear()
            job = submit(alpha, "1-6")
            needed = submit(beta, "1")
            submit(alpha, "7", needs=needing("7", beta, needed, "1"))
            wait_for(lambda: theirs.began and held(beta) and in_the_database(alpha).keys() >= {"loans", "loan_jobs"})
            wait_for(lambda: "watches" in in_the_database(beta))
            part(alpha, beta)
            theirs.go.set()
            with Hands(alpha, slots=2):
                wait_for(lambda: done(alpha, job))
                wait_for(lambda: done(beta, needed))
        wait_for(lambda: (on_the_broker(alpha, api), on_the_broker(beta, other_api)) == before)
        wait_for(lambda: not in_the_database(alpha) and not in_the_database(beta))
        with beta.farm() as farm:
            assert [one.job for one in farm.jobs()] == [needed]


def test_a_server_lives_on_where_its_peer_is_removed_before_it_is_told(strangers: Two) -> None:
    alpha, beta = strangers
    associate(alpha, beta)
    operator.remove(alpha.settings, beta.name)
    with alpha.engine.begin() as connection:
        alpha.server.federation.send(connection, beta.name, ShowJob(job=1))
    with beta.engine.begin() as connection:
        beta.server.federation.send(connection, alpha.name, ShowJob(job=2))
    beta.server.federation.wake()
    with Hands(alpha), Hands(beta):  # both have room now, and something to say to each other
        wait_for(lambda: not any(alpha.waiting(beta.name).values()))
        alpha.reload()
        operator.dissolve(alpha.settings, beta.name)
        with alpha.farm() as farm:
            assert farm.peers() == []
    operator.remove(beta.settings, alpha.name)
    beta.reload()
    operator.dissolve(beta.settings, alpha.name)
