"""Sites of a federation: real servers, each on a virtual host of its own on one broker or another.

Fixtures: `two` are peers that the tests of a module share, and `line` is a way to `broker` that can be cut; with `soon`
what takes half a minute takes a second.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from brokers import Broker
from waiting import PATIENCE, wait_for

from distren.broker.management import Management
from distren.client.farm import Farm
from distren.config import Settings
from distren.federation import health, operator, sender
from distren.server import borrower, federation, greetings, lender
from distren.server.daemon import Server
from distren.storage import schema
from distren.storage.engine import open_engine
from distren.wire.jobs import FrameInfo, JobInfo
from distren.wire.peers import PeerInfo

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from trials.proxy import Proxies, Proxy


class Site:
    """A server in a thread of this process, that can be stopped and started again."""

    def __init__(self, name: str, folder: Path, broker: Broker, vhost: str, **settings: object) -> None:
        self.broker, self.vhost = broker, vhost
        self.url = broker.url_of(vhost)
        parts = urlsplit(broker.management_url)
        self.settings = Settings(
            data=folder / name,
            server=name,
            broker=self.url,
            management=f"{parts.scheme}://{broker.user}:{broker.password}@{parts.netloc}",
            **settings,  # type: ignore[arg-type]
        )
        self.name = name
        schema.upgrade(self.settings.database_url)
        self.engine = open_engine(self.settings.database_url)
        self.error: BaseException | None = None

    def start(self) -> None:
        self.server = Server(self.settings, self.url)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for(self._answers)

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as error:
            self.error = error

    def _answers(self) -> bool:
        if self.error is not None:
            raise self.error
        with self.farm() as farm:
            try:
                farm.describe(1.0)
            except Exception:
                return False
        return True

    def stop(self) -> None:
        if hasattr(self, "_thread") and self._thread.is_alive():
            self.server.stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()

    def farm(self, at: str | None = None) -> Farm:
        return Farm(broker=self.url, data=self.settings.data, at=at)

    def peer(self, name: str) -> PeerInfo:
        with self.farm() as farm:
            return next(one for one in farm.peers() if one.peer == name)

    def hears(self, name: str) -> bool:
        return self.peer(name).state == "up"

    def reload(self) -> None:
        with self.farm() as farm:
            farm.reload_peers()

    def peer_vhost(self, peer: str) -> str:
        return f"peer_{self.name}_{peer}"

    def waiting(self, peer: str) -> dict[str, int]:
        """Messages in the queues for `peer`, asked over AMQP."""
        import pika

        counts = {}
        connection = pika.BlockingConnection(pika.URLParameters(self.broker.url_of(self.peer_vhost(peer))))
        for queue in (f"inbound.{peer}", f"outbound.{peer}"):
            found = connection.channel().queue_declare(queue, passive=True)
            counts[queue] = found.method.message_count
        connection.close()
        return counts


def associate(alpha: Site, beta: Site, place: str | None = None) -> None:
    """Make two sites peers, by their operators' ways; `beta`'s broker is reached by the other, at `place`."""
    given = operator.accept(beta.settings, alpha.name, place)
    beta.reload()
    operator.add(alpha.settings, beta.name, given)
    alpha.reload()
    wait_for(lambda: alpha.hears(beta.name) and beta.hears(alpha.name))


@contextmanager
def site(name: str, folder: Path, broker: Broker, management: Management, **settings: object) -> Iterator[Site]:
    """A running site, ended and taken off the broker with everything that is its own."""
    vhost = f"site-{name}-{secrets.token_hex(4)}"
    management.create_vhost(vhost)
    made = Site(name, folder, broker, vhost, **settings)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        made.engine.dispose()
        for each in management.vhosts():
            if each == vhost or each.startswith(f"peer_{name}_"):
                management.delete_vhost(each)


# -- what a client sees -----------------------------------------------------------------------------------------------


def info(at: Site, job: int) -> JobInfo:
    with at.farm() as farm:
        return farm.job(job).info()


def frames(at: Site, job: int) -> list[FrameInfo]:
    with at.farm() as farm:
        return list(farm.job(job).frames())


def ended(at: Site, job: int, state: str = "done") -> bool:
    found = info(at, job).state
    assert found in ("active", "paused", state)
    return found == state


def offered(at: Site, peer: Site) -> int:
    """How many frames `peer` takes, as far as `at` knows."""
    offers = at.server.lending.room
    return sum(room for queue, room in offers.items() if queue.startswith(f"peer/{peer.name}/"))


def all_jobs(at: Site) -> list[JobInfo]:
    with at.farm() as farm:
        return list(farm.jobs())


# -- among peers ------------------------------------------------------------------------------------------------------


def part(*two: Site) -> None:
    """End an association, by the operators' ways on both sides."""
    for here, there in (two, tuple(reversed(two))):
        operator.remove(here.settings, there.name)
        here.reload()
        operator.dissolve(here.settings, there.name)


Two = tuple[Site, Site]


@contextmanager
def pair(folder: Path, here: Broker, there: Broker, place: str | None = None, **settings: object) -> Iterator[Two]:
    """Two peers: alpha at the broker `here`, which holds the shovels, and beta at `there`, reached at `place`.

    `settings` are those of both.
    """
    mark = secrets.token_hex(3)
    with (
        here.management() as api,
        there.management() as other_api,
        site(f"alpha-{mark}", folder, here, api, **settings) as alpha,
        site(f"beta-{mark}", folder, there, other_api, **settings) as beta,
    ):
        associate(alpha, beta, place)
        yield alpha, beta


@pytest.fixture(scope="module")
def soon() -> Iterator[None]:
    """What takes half a minute takes a second; sites that are made before wait for their first half minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "FIRST_PATIENCE", 1.0)
        patch.setattr(federation, "LOOK_EVERY", 0.5)
        patch.setattr(greetings, "HELLO_EVERY", 1.0)
        patch.setattr(health, "DOWN_AFTER", 20.0)
        patch.setattr(lender, "SILENT_AFTER", 5.0)
        patch.setattr(lender, "REFUSED_FOR", 2.0)
        patch.setattr(borrower, "GIVE_BACK_AFTER", 2.0)
        yield


@pytest.fixture(scope="module")
def two(soon: None, tmp_path_factory: pytest.TempPathFactory, broker: Broker, other_broker: Broker) -> Iterator[Two]:
    """Two peers, on two brokers; the first one holds the shovels."""
    with pair(tmp_path_factory.mktemp("sites"), other_broker, broker) as made:
        yield made


@pytest.fixture(scope="module")
def line(broker: Broker) -> Iterator[Proxy]:
    """A way to `broker`, to be cut."""
    proxies = Proxies()
    yield proxies.open(urlsplit(broker.amqp_url).port or 0)
    proxies.close()
