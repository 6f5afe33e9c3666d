"""The server process: stands by until it holds the lead, then acts in turns until it loses it, or somebody ends it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from math import inf

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from distren.amqp.link import Consumer, Delivery, Link
from distren.amqp.topology import EXCHANGES, RESULTS, SERVER_QUEUES
from distren.config import Settings
from distren.errors import BrokerUnavailable, Conflict, DatabaseDamaged, NoAnswer, OutputError
from distren.renderers import registry
from distren.server.acting import PREFETCH, Acting
from distren.server.blobs import BlobService
from distren.server.errands import Errands
from distren.server.examiner import Examiner
from distren.server.federation import Federation
from distren.server.lead import HEARTBEAT, Lead
from distren.server.lending import Lending
from distren.server.state import State
from distren.server.waterline import Waterline
from distren.storage import damage, identity, schema, stopped
from distren.storage.blobstore import BlobStore
from distren.storage.engine import open_engine, sqlite_file
from distren.storage.identity import Deposed

log = logging.getLogger(__name__)

TURN = 1_000
"""deliveries that one turn takes at most"""
GATHER = 0.02
"""seconds between two turns while results stream in: a turn costs as much as what follows from five results"""
_ASK_AFTER = 1.0
"""seconds without the lead after which another process must have it: the broker hands a free one over at once"""
_ASK_FOR = 5.0
"""seconds that the one which has it may take to say who it is"""
_LOCKED_FOR = 1.0
"""seconds that a new term waits for the database before it looks whether a stopped process holds it"""


class Server:
    """A server; `run` blocks until `stop` is called from another thread or a signal handler.

    Several processes may run for one server, on one broker, one database and one folder of blobs: one acts, the others
    stand by. Raises SchemaError, Conflict (the database is another server's; another server, or one of this name with
    another database, acts on this broker), AccessRefused, OutputError and DatabaseDamaged.
    """

    def __init__(self, settings: Settings, broker_url: str) -> None:
        self._settings = settings
        self._broker_url = broker_url
        self._inbox: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._changes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._turned = 0.0

    def stop(self) -> None:
        """End the server after the turn that it is in."""
        self._stopping.set()
        self._wake()

    def run(self) -> None:
        registry.installed()  # here, where nobody waits: the first job would take a tenth of a second longer
        store = BlobStore(self._settings.blobs)
        name, mark = self._identify()
        lead = Lead(self._broker_url, name, self._wake)
        try:
            with suppress(BrokerUnavailable):  # only where somebody wants an end before there was a broker
                lead.start(wanted=lambda: not self._stopping.is_set())
            while not self._stopping.is_set():
                if self._stand_by(lead, name, mark):
                    with suppress(Deposed):
                        self._act(
                            lead,
                            State(
                                name=name,
                                engine=self._engine(),
                                store=store,
                                waterline=Waterline(store.folder),
                                database=mark,
                                kills=self._settings.kills,
                                keep_unused=self._settings.keep_unused * 3_600.0,
                                limits=self._settings.limits,
                            ),
                        )
        finally:
            lead.close()

    def _identify(self) -> tuple[str, str]:
        """The server's name and the mark of its database."""
        with self._opened() as engine:
            schema.check(engine)
            damage.examine(engine)
            with engine.begin() as connection:
                given = "server" in self._settings.model_fields_set
                name = None if given else identity.stored_name(connection)
                name = identity.claim(connection, (name or self._settings.server).lower(), time.time())
                return name, identity.mark(connection)

    @contextmanager
    def _opened(self) -> Iterator[Engine]:
        engine = self._engine()
        try:
            yield engine
        finally:
            engine.dispose()

    def _engine(self) -> Engine:
        return open_engine(self._settings.database_url)

    def _wake(self) -> None:
        """Somebody wants an end, or the lead has come or gone; may be called by a signal handler."""
        self._changes.put(None)
        self._inbox.put(None)

    # -- standing by -------------------------------------------------------------------------------------------------

    def _stand_by(self, lead: Lead, name: str, mark: str) -> bool:
        """Wait for the lead; False where it will not come any more. Raises Conflict."""
        told = False
        while not self._gets(lead, None if told else _ASK_AFTER):
            if self._stopping.is_set():
                return False
            if not told and lead.is_up:
                self._check_rival(lead, name, mark)
                log.info("server %s stands by: another process acts for it", name)
                told = True
        return True

    def _gets(self, lead: Lead, timeout: float | None) -> bool:
        """Wait so many seconds for the lead, None: for ever; whether it is held."""
        until = None if timeout is None else time.monotonic() + timeout
        while not lead.is_held and not self._stopping.is_set():
            try:
                self._changes.get(timeout=None if until is None else max(until - time.monotonic(), 0.0))
            except queue.Empty:
                break
        return lead.is_held

    @staticmethod
    def _check_rival(lead: Lead, name: str, mark: str) -> None:
        """Raise Conflict where whoever acts here is not of the same server."""
        try:
            rival = lead.holder(_ASK_FOR)
        except NoAnswer:
            return
        if rival.server != name:
            raise Conflict(f"another server runs on this broker: '{rival.server}'; a broker serves one server")
        if rival.database and rival.database != mark:
            raise Conflict(
                f"another server called '{name}' runs on this broker, with another database: give this one the same, "
                "so that it can stand by, or a broker of its own"
            )

    # -- acting ------------------------------------------------------------------------------------------------------

    def _act(self, lead: Lead, state: State) -> None:
        """Act until the lead is lost for good or somebody ends it. Raises Deposed."""
        with ExitStack() as stack:
            stack.callback(state.engine.dispose)
            acting = self._open(stack, lead, state)
            log.info("server %s is ready", state.name)
            while not self._stopping.is_set():
                if not lead.is_held and not self._comes_back(lead):
                    log.warning("server %s steps back: another process has taken over", state.name)
                    return
                acting.turn(self._take(acting.wait()))
                lead.renew()
                if self._consuming.failure is not None:
                    raise self._consuming.failure
            self._publishing.flush(5.0)
            acting.settle()

    def _open(self, stack: ExitStack, lead: Lead, state: State) -> Acting:
        """Begin a term, and open all that it takes to act."""
        self._begin_term(state, lead)
        name = state.name
        self._inbox = queue.SimpleQueue()
        self._consuming = self._link(f"server {name} (requests, results)")
        self._publishing = self._link(f"server {name} (frames, replies)")
        examiner = Examiner(state.store, state.limits)
        examiner.start()
        stack.callback(examiner.close)
        state.examine = examiner.examine
        acting = Acting(state, self._consuming, self._publishing, wake=self._wake, examiner=examiner)
        stack.callback(acting.close)
        self._publishing.on_up = acting.connected
        self._acting = acting
        for link in (self._consuming, self._publishing):
            link.start()
            stack.callback(link.close)
        self.federation, errands = self._federated(stack, acting, state, examiner)
        blobs = BlobService(self._broker_url, name, state.store, heartbeat=HEARTBEAT, elsewhere=errands.take_blobs)
        blobs.start()
        stack.callback(blobs.stop)
        acting.resume()
        for source, prefetch in PREFETCH.items():
            self._consuming.consume(
                Consumer(queue=source, tag=f"server {name} {source}", on_delivery=self._inbox.put, prefetch=prefetch)
            )
        return acting

    def _federated(
        self, stack: ExitStack, acting: Acting, state: State, examiner: Examiner
    ) -> tuple[Federation, Errands]:
        """Among the peers, from here until the server ends; what clients ask there has a link of its own."""
        inbox = self._inbox
        link = Link(self._broker_url, name=f"server {state.name} (clients of peers)", patient=True)
        link.start()
        stack.callback(link.close)
        errands = Errands(state, link.publish)
        stack.callback(errands.stop)
        federation = Federation(
            state,
            self._settings,
            self._broker_url,
            ask=acting.ask,
            examine=examiner.ask,
            wake=lambda: inbox.put(None),
            on_client=errands.bring,
            on_news=errands.tell_news,
        )
        self.lending = state.lending = Lending(
            state, federation, self._settings, note=acting.note, on_progress=acting.progressed
        )
        state.moves = self.lending.moves
        stack.callback(self.lending.stop)
        errands.federation = federation
        stack.callback(federation.stop)
        federation.start()
        acting.join(federation, errands)
        return federation, errands

    def _begin_term(self, state: State, lead: Lead) -> None:
        """Depose whoever acted until now; one that was stopped in the middle of a change is ended first.

        Raises Deposed where the lead, or the wish to act, is gone before the database could be had.
        """
        engine, told = state.engine, False
        while lead.is_held and not self._stopping.is_set():
            self._end_holder(engine)  # before we wait for the database as long as anybody would
            try:
                with engine.begin() as connection:
                    term = state.waterline.begin(connection, identity.next_term(connection))
                    if state.waterline.restored:
                        state.keep_unused = inf  # jobs that came after the copy are named by nobody
                    identity.begin_term(connection, term)
                identity.fence(engine, term)
                return
            except DatabaseDamaged:
                raise
            except (OperationalError, OutputError) as error:  # locked, or no room on the disk
                if not told:
                    why = error.orig if isinstance(error, OperationalError) else error
                    log.error("database or disk refuse a new term, trying again until they do not: %s", why)
                    told = True
                with suppress(queue.Empty):  # not by the event: a signal handler that sets it could wait for us
                    self._changes.get(timeout=_LOCKED_FOR)
        raise Deposed("the lead is gone")

    @staticmethod
    def _end_holder(engine: Engine) -> None:
        database = sqlite_file(engine)
        if database is not None and (process := stopped.holder(database)) is not None:
            log.warning("ending process %d: it was stopped while it changed the database", process.pid)
            process.kill()

    def _comes_back(self, lead: Lead) -> bool:
        """Whether we get the lead again, which is ours as long as nobody else takes it; we do nothing until then."""
        while not self._stopping.is_set():
            if self._gets(lead, _ASK_AFTER):
                return True
            if lead.is_up or self._consuming.is_up:
                return False
        return False

    def _link(self, name: str) -> Link:
        return Link(
            self._broker_url,
            name=name,
            exchanges=EXCHANGES,
            queues=SERVER_QUEUES,
            on_replaced=lambda queue: self._acting.queue_replaced(queue),
            patient=True,
            heartbeat=HEARTBEAT,
        )

    # -- what has arrived --------------------------------------------------------------------------------------------

    def _take(self, wait: float) -> list[Delivery]:
        """What has arrived; waits up to `wait` seconds for it, and for the results that come soon after the last."""
        taken: list[Delivery] = []
        until = time.monotonic() + wait
        try:
            while len(taken) < TURN:
                left = until - time.monotonic()
                found = self._inbox.get(timeout=left) if left > 0 else self._inbox.get_nowait()
                if found is None:
                    break
                taken.append(found)
                until = min(until, self._turned + GATHER) if found.queue == RESULTS else 0.0
        except queue.Empty:
            pass
        self._turned = time.monotonic()
        return taken
