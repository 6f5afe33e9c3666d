"""A farm in memory: the real server (a turn at a time), the real hands and results of workers, a broker that is fake.

What is real here: domain, storage on SQLite, server/acting.py with all that it uses, worker/hand.py, worker/results.py.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from model_broker import Broker, FakeLink
from sqlalchemy import Engine, text

from distren import failpoints
from distren.amqp.topology import DEAD, REPORTS, RESULTS, class_queue_name
from distren.domain import frameset
from distren.domain.job import Blob, JobSpec, Limits
from distren.domain.needs import Needs
from distren.errors import Conflict, OutputError
from distren.server import intake, requests
from distren.server.acting import Acting
from distren.server.seeds import Seed
from distren.server.state import State
from distren.storage import identity, tables
from distren.storage.engine import open_engine
from distren.wire import fields
from distren.wire.codec import Message
from distren.wire.frames import Render, Report
from distren.wire.jobs import Change, Submit
from distren.worker.attempt import Broken, Rendered
from distren.worker.hand import Hand, Holding, Receipt, Stage
from distren.worker.results import Results

RENDERERS = {"povray": "3.7"}
QUEUE = class_queue_name("default", RENDERERS)
SLOTS = 2
MANIFEST = Blob(digest="0" * 64, size=1)
Key = tuple[int, int]


class Killed(BaseException):
    """The server dies at a failpoint."""


class Store:
    """Blobs in memory."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.full = False

    def has(self, digest: str) -> bool:
        return digest in self.blobs

    def put(self, data: bytes) -> Blob:
        if self.full:
            raise OutputError("no space left on device")
        blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
        self.blobs[blob.digest] = data
        return blob


class Worker:
    """A worker process without its slots: the test says when a frame begins and how it ends."""

    def __init__(self, farm: Farm, name: str) -> None:
        self.farm, self.name, self.started = farm, name, farm.now()
        self.link, self.sending = FakeLink(farm.broker), FakeLink(farm.broker)
        self.hand = Hand(SLOTS, clock=farm.steady)
        self.results = Results(
            self.sending, worker=name, reply_queue=f"worker.{name}", on_settled=self._settled, clock=farm.steady
        )

    def take(self) -> None:
        """The broker delivers a frame."""
        room = SLOTS + 1 - len(self.hand.holdings())
        delivery = self.link.take(QUEUE) if room > 0 else None
        if delivery is not None:
            render = Render.expect(delivery.body)
            if int(delivery.headers.get("x-delivery-count", 0)) >= (render.returns or 99):
                self.link.bury(delivery)
            elif self.hand.receive(render, delivery) is Receipt.SUPERFLUOUS:
                self.link.acknowledge(delivery)

    def begin(self) -> None:
        """A slot takes a frame."""
        holdings = self.hand.holdings()
        waiting = [one for one in holdings if one.stage is Stage.WAITING]
        if waiting and sum(one.stage is Stage.RENDERING for one in holdings) < SLOTS:
            holding = self.hand.next()
            assert holding is not None
            self.results.started(holding)

    def rendering(self) -> list[Holding]:
        return [one for one in self.hand.holdings() if one.stage is Stage.RENDERING]

    def finish(self, *, damaged: bool = False) -> None:
        """The oldest render ends well; `damaged`: its bytes change on the way."""
        for holding in self.rendering()[:1]:
            data = f"{holding.render.job}/{holding.render.frame} by {holding.token}".encode()
            blob = Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data))
            self.farm.made.add(blob.digest)
            tarball = data[::-1] if damaged else data
            self.results.completed(holding, Rendered(tarball=tarball, blob=blob, seconds=0.1, log=b""))
            self.hand.sending(holding)

    def fail(self, *, permanent: bool) -> None:
        """The oldest render fails."""
        for holding in self.rendering()[:1]:
            self.results.failed(holding, Broken(reason="Parse Error", permanent=permanent))
            self.hand.sending(holding)

    def acknowledge_early(self) -> None:
        """A frame renders for very long."""
        for holding in self.rendering()[:1]:
            self.farm.early.add(holding.key)
            if (delivery := self.hand.release_early(holding)) is not None:
                self.link.acknowledge(delivery)

    def report(self) -> None:
        holdings = self.hand.holdings()
        report = Report(
            worker=self.name,
            host="host",
            pid=1,
            pool="default",
            queue=QUEUE,
            renderers=RENDERERS,
            slots=SLOTS,
            room=SLOTS + 1,
            state="working",
            held=[one.token for one in holdings],
            held_frames=[(one.render.job, one.render.frame) for one in holdings],
            cores=2,
            memory=1,
            started=self.started,
            software="test",
        )
        self.results._tell(report)

    def cut(self, *, lost: bool = False) -> None:
        self.sending.cut(lost=lost)
        self.link.cut(lost=lost)
        self.hand.forget_deliveries()

    def _settled(self, holding: Holding) -> None:
        """As worker/slots.py does it."""
        self.farm.settled[holding.token] = self.farm.broker.losses
        if (delivery := self.hand.finish(holding)) is not None:
            self.link.acknowledge(delivery)


@dataclass
class Farm:
    """The world; `seconds` is its steady clock, `offset` what the wall clock is ahead of it."""

    engine: Engine
    broker: Broker = field(default_factory=Broker)
    store: Store = field(default_factory=Store)
    seconds: float = 1_000.0
    offset: float = 1_700_000_000.0
    workers: list[Worker] = field(default_factory=list)
    acting: Acting | None = None
    made: set[str] = field(default_factory=set)
    settled: dict[str, int] = field(default_factory=dict)
    """tokens of attempts whose end a worker counts as told, with the number of the broker's losses until then"""
    early: set[tuple[int, int, int]] = field(default_factory=set)
    """frames that a worker has acknowledged while it renders them"""
    _deadly: str | None = None

    def now(self) -> float:
        return self.seconds + self.offset

    def steady(self) -> float:
        return self.seconds

    # -- the server --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, where none runs."""
        if self.acting is not None:
            return
        self.consuming, self.publishing = FakeLink(self.broker), FakeLink(self.broker)
        store: Any = self.store
        waterline: Any = None
        self.state = State(
            name="alpha",
            engine=self.engine,
            store=store,
            waterline=waterline,
            now=self.now,
            steady=self.steady,
            opened=self.seconds,
        )
        links: Any = (self.consuming, self.publishing)
        self.acting = Acting(self.state, *links)
        self.acting.resume()

    def kill(self) -> None:
        """The server dies as it is; its connections end."""
        if self.acting is not None:
            self.acting = None
            self.consuming.cut()
            self.publishing.orders.clear()
            self.publishing.confirms.clear()

    def turn(self, *, most: int = 20, shuffle: int = 0, deadly: str | None = None) -> None:
        """The server deals with what waits for it, in an order that `shuffle` picks; `deadly`: where it dies."""
        if self.acting is None:
            return
        deliveries = []
        while len(deliveries) < most:
            found = [self.consuming.take(queue, shuffle) for queue in (REPORTS, RESULTS, DEAD)]
            if not any(found):
                break
            deliveries += [one for one in found if one is not None]
        self._deadly = deadly
        try:
            self.acting.turn(deliveries)
        except Killed:
            self.kill()
        finally:
            self._deadly = None

    def reach(self, name: str) -> None:
        """Takes the place of `failpoints.reach`."""
        if name == self._deadly:
            raise Killed(name)

    def ask(self, job: int, action: Any, frames: list[int] | None = None) -> None:
        """A client changes a job; what the server refuses changes nothing."""
        if self.acting is not None:
            ranges = None if frames is None else [(number, number, 1) for number in frames]
            try:
                reply = requests.answer(self.state, Change(job=job, action=action, frames=ranges))
                for _ in () if isinstance(reply, Message) else reply:
                    pass
            except Conflict:
                return
            self.acting._turns.wanted = True

    def submit(self, frames: int, *, chained: bool = False) -> None:
        needs = ()
        if chained and frames > 1:
            rule = Needs(frames=frameset.parse(f"2-{frames}"), needed=frameset.parse(f"1-{frames - 1}"), pairs=True)
            needs = (rule,)
        spec = JobSpec(
            name="t",
            renderer="povray",
            frames=frameset.parse(f"1-{frames}"),
            needs=needs,
            limits=Limits(attempts=3),
        )
        with self.engine.begin() as connection:
            request = Submit(manifest=fields.Blob.of(MANIFEST), key=uuid.uuid4().hex)
            intake.record(connection, request, Seed(spec=spec, manifest=MANIFEST, inputs=()), self.now())
        if self.acting is not None:
            self.acting._turns.wanted = True

    # -- everybody ---------------------------------------------------------------------------------------------------

    def move(self) -> None:
        """All that is on its way arrives."""
        for link in self.links():
            link.flush()
            link.confirm()
        for link in self.links():
            link.flush()

    def links(self) -> list[FakeLink]:
        own = [] if self.acting is None else [self.consuming, self.publishing]
        return [*own, *(link for worker in self.workers for link in (worker.sending, worker.link))]

    def lose_data(self) -> None:
        """The broker comes back without anything."""
        self.broker.wipe()
        for link in self.links()[: 0 if self.acting is None else 2]:
            link.cut(lost=True)
        for worker in self.workers:
            worker.cut(lost=True)
        self.broker.declare(QUEUE)
        if self.acting is not None:
            self.acting._turns.broker_is_new()

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query)))

    def unsettled(self) -> set[str]:
        """Ends of attempts that a worker counts as told, and that the database does not know."""
        known = {row.token for row in self.rows("SELECT token FROM attempts WHERE state NOT IN ('rendering', 'lost')")}
        return {token for token, losses in self.settled.items() if losses == self.broker.losses and token not in known}

    def forgotten(self) -> set[tuple[int, int, int]]:
        """Frames that wait in no queue, though they should, and that no worker and no outbox has.

        One whose worker died while another one finished it is found by the reconciler alone.
        """
        query = "SELECT job, id, issue FROM frames WHERE state = 'queued'"
        issued = {(row.job, row.id, row.issue) for row in self.rows(query)}
        bodies = [row.body for row in self.rows("SELECT body FROM outbox")]
        bodies += [waiting.body for waiting in self.broker.queues.get(QUEUE, ())]
        for worker in self.workers:
            bodies += [waiting.body for _, waiting in worker.link.unacknowledged.values()]
        there = {(one.job, one.frame, one.issue) for one in map(Render.expect, bodies)}
        held = {holding.key for worker in self.workers for holding in worker.hand.holdings()}
        return issued - there - held


class Ledger:
    """What the database has said once and may not take back; `check` is called after every step."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.results: dict[Key, str] = {}
        self.ended: dict[Key, str] = {}
        self.numbers: dict[str, tuple[int, int, int]] = {}
        self.done: Counter[Key] = Counter()
        self.again: Counter[Key] = Counter()
        """results of frames that were done when somebody asked for them anew"""
        self._checked = -1

    def retried(self) -> None:
        """Somebody has asked for frames anew: what has ended may open again, at once or with what it needs."""
        states = self._states()
        for key in self.results:
            if states[key] != "done":
                self.again[key] = self.done[key]
        self.results = {key: digest for key, digest in self.results.items() if states[key] == "done"}
        self.ended = {key: state for key, state in self.ended.items() if states[key] == state}

    def check(self) -> None:
        with self.farm.engine.connect() as connection:
            changes = connection.connection.dbapi_connection.total_changes
        if changes == self._checked:
            return
        self._checked = changes
        self._check_frames()
        self._check_attempts()
        self._check_counts()

    def _states(self) -> dict[Key, str]:
        return {(row.job, row.id): row.state for row in self.farm.rows("SELECT job, id, state FROM frames")}

    def _check_frames(self) -> None:
        rows = self.farm.rows("SELECT job, id, state, result, queue FROM frames")
        for row in rows:
            key = (row.job, row.id)
            assert self.ended.get(key, row.state) == row.state, f"{key} was {self.ended[key]} and is {row.state}"
            if row.state in ("done", "failed", "cancelled"):
                self.ended[key] = row.state
            if row.state == "done":
                assert row.result in self.farm.made, f"nobody made the result of {key}"
                assert self.results.setdefault(key, row.result) == row.result, f"{key} was recorded twice"
                data = self.farm.store.blobs[row.result]
                assert hashlib.sha256(data).hexdigest() == row.result, f"the result of {key} is damaged"
            assert (row.queue is not None) == (row.state in ("queued", "rendering")), f"{key} {row.state} {row.queue}"

    def _check_attempts(self) -> None:
        rows = self.farm.rows("SELECT token, job, frame, number, state FROM attempts")
        for row in rows:
            known = self.numbers.setdefault(row.token, (row.job, row.frame, row.number))
            assert known == (row.job, row.frame, row.number), f"attempt {row.token} has changed its number"
        assert len(set(self.numbers.values())) == len(self.numbers), "a number of an attempt was used twice"
        done = Counter((row.job, row.frame) for row in rows if row.state == "done")
        assert all(done[key] for key in self.results), "a result belongs to no attempt"
        twice = [key for key, count in done.items() if count > 1 + self.again[key]]
        assert not twice, f"{twice} was recorded twice"
        self.done = done

    def _check_counts(self) -> None:
        found: dict[int, Counter[str]] = {}
        for (job, _), state in self._states().items():
            found.setdefault(job, Counter())[state] += 1
        for row in self.farm.rows("SELECT id, counts FROM jobs"):
            assert json.loads(row.counts) == dict(found[row.id]), f"job {row.id} counts wrongly"


def empty_database() -> Engine:
    engine = open_engine("sqlite://")
    tables.metadata.create_all(engine)
    return engine


def cleared(engine: Engine) -> Engine:
    """The same database without any rows; ids go on."""
    with engine.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())
        identity.claim(connection, "alpha", 1.0)
    return engine


SERVER_POINTS = [
    name
    for name in failpoints.POINTS
    if name.startswith(("server.commit", "server.publish", "server.acknowledge", "server.result"))
]
