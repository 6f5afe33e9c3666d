"""The life of frames under a random sequence of faults: nothing is lost, and nothing is recorded twice.

`DISTREN_MODEL_SEQUENCES` and `DISTREN_MODEL_STEPS` make it longer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model_farm import SERVER_POINTS, Farm, Ledger, Worker, cleared, empty_database

from distren import failpoints
from distren.amqp.publisher import Outgoing
from distren.amqp.topology import EVENTS
from distren.domain import frame as frame_rules
from distren.domain.states import FrameState
from distren.server import acting as acting_module
from distren.server.acting import Acting
from distren.storage import outbox
from distren.worker.results import Results

SEQUENCES = int(os.environ.get("DISTREN_MODEL_SEQUENCES", "200"))
STEPS = int(os.environ.get("DISTREN_MODEL_STEPS", "50"))
ENGINE = empty_database()
DAY = 86_400.0
WHICH = st.integers(0, 7)


class Life(RuleBasedStateMachine):
    """One farm; each rule is something that happens in it."""

    @initialize(workers=st.integers(1, 3), frames=st.integers(1, 4))
    def begin(self, workers: int, frames: int) -> None:
        self.farm = Farm(cleared(ENGINE))
        self.ledger = Ledger(self.farm)
        failpoints.reach = self.farm.reach
        self.farm.start()
        for number in range(workers):
            self.join(f"w{number}")
        self.farm.submit(frames)
        self.farm.move()
        self.farm.turn()

    def join(self, name: str) -> None:
        worker = Worker(self.farm, name)
        self.farm.workers.append(worker)
        worker.report()
        worker.sending.flush()

    def worker(self, which: int) -> Worker:
        return self.farm.workers[which % len(self.farm.workers)]

    def teardown(self) -> None:
        try:
            if hasattr(self, "farm"):
                self.soon()
                self.at_last()
        finally:
            failpoints.reach = failpoints._pass

    # -- the good --------------------------------------------------------------------------------------------------

    @rule(frames=st.integers(1, 4), chained=st.booleans())
    def submit(self, frames: int, chained: bool) -> None:
        if len(self.farm.rows("SELECT 1 FROM jobs")) < 4:
            self.farm.submit(frames, chained=chained)

    @rule(most=st.integers(1, 20), shuffle=WHICH)
    def turn(self, most: int, shuffle: int) -> None:
        self.farm.turn(most=most, shuffle=shuffle)

    @rule()
    def move(self) -> None:
        self.farm.move()

    @rule(which=WHICH, orders=st.integers(1, 4))
    def move_some(self, which: int, orders: int) -> None:
        links = self.farm.links()
        links[which % len(links)].flush(orders)

    @rule(which=WHICH)
    def confirm(self, which: int) -> None:
        links = self.farm.links()
        links[which % len(links)].confirm()

    @rule(which=WHICH)
    def take_and_begin(self, which: int) -> None:
        self.worker(which).take()
        self.worker(which).begin()

    @rule(which=WHICH)
    def finish(self, which: int) -> None:
        self.worker(which).finish()

    @rule(which=WHICH, confirmed=st.booleans())
    def render(self, which: int, confirmed: bool) -> None:
        """All the way from the queue to a result that waits for the server."""
        self.farm.move()
        worker = self.worker(which)
        worker.take()
        worker.begin()
        worker.finish()
        worker.sending.flush()
        if confirmed:
            worker.sending.confirm()
            worker.link.flush()

    @rule(which=WHICH)
    def report(self, which: int) -> None:
        self.worker(which).report()

    @rule(seconds=st.sampled_from([0.5, 6.0, 20.0, 50.0]))
    def time_passes(self, seconds: float) -> None:
        self.farm.seconds += seconds

    @rule()
    def start(self) -> None:
        self.farm.start()

    # -- what people ask for ---------------------------------------------------------------------------------------

    @rule(job=st.integers(0, 3), action=st.sampled_from(["cancel", "retry", "pause", "resume"]), whole=st.booleans())
    def change(self, job: int, action: str, whole: bool) -> None:
        jobs = [row.id for row in self.farm.rows("SELECT id FROM jobs ORDER BY id")]
        chosen = jobs[job % len(jobs)]
        self.farm.ask(chosen, action, None if whole or action in ("pause", "resume") else [1])
        if action == "retry":
            self.ledger.retried()

    # -- the bad ---------------------------------------------------------------------------------------------------

    @rule(point=st.sampled_from(SERVER_POINTS), most=st.integers(1, 20), again=st.booleans())
    def die_in_a_turn(self, point: str, most: int, again: bool) -> None:
        self.farm.turn(most=most, deadly=point)
        if again:
            self.farm.start()

    @rule(which=WHICH)
    def fail(self, which: int) -> None:
        self.worker(which).fail(permanent=which == 7)

    @rule(which=WHICH, point=st.sampled_from(SERVER_POINTS))
    def die_with_a_result(self, which: int, point: str) -> None:
        self.farm.start()
        self.render(which, True)
        self.farm.turn(most=20, deadly=point)

    @rule(which=WHICH)
    def damage(self, which: int) -> None:
        self.farm.move()
        self.take_and_begin(which)
        self.worker(which).finish(damaged=True)

    @rule(which=WHICH)
    def early(self, which: int) -> None:
        self.worker(which).acknowledge_early()

    @rule(which=WHICH, told=st.booleans(), acknowledged=st.booleans())
    def kill_worker_with_a_result(self, which: int, told: bool, acknowledged: bool) -> None:
        self.farm.move()
        worker = self.worker(which)
        worker.take()
        worker.begin()
        worker.finish()
        if told:
            worker.sending.flush()
        if acknowledged:
            worker.link.flush()
        self.kill_worker(which)

    @rule(which=WHICH)
    def kill_worker(self, which: int) -> None:
        worker = self.worker(which)
        self.farm.workers.remove(worker)
        worker.sending.orders.clear()
        worker.link.cut()
        self.join(worker.name if which % 2 else f"{worker.name}x"[:8])

    @rule(which=WHICH, other=WHICH)
    def render_twice(self, which: int, other: int) -> None:
        """A worker is cut off while it renders, and another one gets the same frame; both finish it."""
        self.farm.move()
        for worker in (self.worker(which), self.worker(other)):
            worker.take()
            worker.begin()
            worker.sending.flush()
            worker.cut()
        for worker in (self.worker(which), self.worker(other)):
            worker.finish()
            worker.sending.flush()

    @rule(which=WHICH)
    def cut_worker(self, which: int) -> None:
        self.worker(which).cut()

    @precondition(lambda self: self.farm.acting is not None)
    @rule(consuming=st.booleans())
    def cut_server(self, consuming: bool) -> None:
        (self.farm.consuming if consuming else self.farm.publishing).cut()

    @rule(really=st.integers(0, 3))
    def lose_the_brokers_data(self, really: int) -> None:
        if not really:
            self.farm.lose_data()

    @rule(which=WHICH, repeats=st.integers(1, 2))
    def repeat_a_result(self, which: int, repeats: int) -> None:
        for name in ("distren.results", "distren.reports"):
            waiting = self.farm.broker.queues[name]
            if waiting:
                body = waiting[which % len(waiting)].body
                waiting.extend(type(waiting[0])(body) for _ in range(repeats))

    @rule(full=st.booleans())
    def the_disk_is_full(self, full: bool) -> None:
        self.farm.store.full = full

    @rule(keep=st.booleans())
    def lose_reports(self, keep: bool) -> None:
        self.farm.broker.queues["distren.reports"].clear()

    @rule(days=st.sampled_from([-1, 1]))
    def the_clock_jumps(self, days: int) -> None:
        self.farm.offset += days * DAY

    # -- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_taken_back(self) -> None:
        if hasattr(self, "farm"):
            self.ledger.check()

    def soon(self) -> None:
        """Once everybody is up and what is on its way has arrived, nothing that was told is unknown or forgotten."""
        self.farm.start()
        self.farm.store.full = False
        for _ in range(4):
            self.farm.seconds += 1.1
            self.farm.move()
            self.farm.turn(most=10_000)
        self.farm.move()
        assert self.farm.unsettled() == set(), "the end of an attempt was lost"
        if not self.farm.early:
            assert self.farm.forgotten() == set(), "nobody has a frame that is issued"
        self.ledger.check()

    def at_last(self) -> None:
        """In a good world, everything ends."""
        farm = self.farm
        for row in farm.rows("SELECT id FROM jobs WHERE state = 'paused'"):
            farm.ask(row.id, "resume")
        for _ in range(200):
            for worker in farm.workers:
                for _ in range(3):
                    worker.take()
                    worker.begin()
                    worker.finish()
                    worker.finish()
                worker.results.tick()
                worker.report()
            farm.move()
            farm.turn(most=10_000)
            farm.move()
            farm.seconds += 6.0
            if not self.open():
                break
        self.ledger.check()
        assert self.open() == [], "frames were lost"

    def open(self) -> list[Any]:
        query = "SELECT job, id, state, reason FROM frames WHERE state NOT IN ('done', 'failed', 'cancelled')"
        return self.farm.rows(query)


def run(sequences: int) -> None:
    logging.disable()
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def _acknowledge_first(patch: pytest.MonkeyPatch) -> None:
    turn = Acting.turn

    def wrong(self: Any, deliveries: Any) -> None:
        if deliveries:
            self._consuming.acknowledge(deliveries[-1], multiple=True)
            self._consuming.flush()
        turn(self, deliveries)

    patch.setattr(Acting, "turn", wrong)


def _no_outbox(patch: pytest.MonkeyPatch) -> None:
    def wrong(connection: Any, messages: Any) -> list[outbox.Owed]:
        return [outbox.Owed(id=0, exchange=exchange, key=key, body=body) for exchange, key, body in messages]

    patch.setattr(outbox, "add", wrong)


def _no_deduplication(patch: pytest.MonkeyPatch) -> None:
    completed = frame_rules.completed

    def wrong(frame: Any, attempt: Any, result: Any, now: float, **more: Any) -> Any:
        if frame.state is FrameState.DONE:
            return replace(frame, result=result, token=attempt.token)
        return completed(frame, attempt, result, now, **more)

    patch.setattr(frame_rules, "completed", wrong)


def _no_confirm(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, holding: Any, event: Any) -> None:
        self._link.publish(Outgoing(exchange=EVENTS, key=event.type, body=event.encode(), type=event.type))
        self._on_settled(holding)

    patch.setattr(Results, "_send", wrong)


def _no_digest(patch: pytest.MonkeyPatch) -> None:
    def wrong(store: Any, event: Any) -> None:
        store.blobs[event.result.digest] = event.tarball

    patch.setattr(acting_module, "store_result", wrong)


_GONE = "the end of an attempt was lost|nobody has a frame that is issued|frames were lost"
PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "acknowledge before commit": (_acknowledge_first, _GONE),
    "no outbox": (_no_outbox, _GONE),
    "no deduplication": (_no_deduplication, "was recorded twice"),
    "completion published without confirm": (_no_confirm, _GONE),
    "result accepted with a wrong digest": (_no_digest, "is damaged"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, complaint = PLANTED[name]
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=complaint):
        run(SEQUENCES)


@pytest.mark.timeout(3_600)
def test_nothing_is_lost_and_nothing_is_recorded_twice() -> None:
    run(SEQUENCES)
