"""Starts a real program of ours with a bug planted in it, or with an accident that waits for it, or both.

    planted.py NAME[,NAME...] -- distren-server|distren-worker ARGUMENTS

The product has no switches for this: classes are patched in the process, then the program's own `main` is called. An
accident happens once on a farm: the folder TRIAL_MARKS keeps a mark, with the time and the process that it befell.
In every process that is started like this the reconciler does nothing: it mends in a minute what other mechanisms
ought to have prevented, and here these alone are on trial.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

# -- accidents -------------------------------------------------------------------------------------------------------


def befalls(accident: str) -> bool:
    """Whether this is the one time that the accident happens; if so, it is marked."""
    mark = {"at": time.time(), "process": os.environ["TRIAL_WORKER"]}
    try:
        with (Path(os.environ["TRIAL_MARKS"]) / accident).open("x", encoding="utf-8") as file:
            file.write(json.dumps(mark))
    except FileExistsError:
        return False
    return True


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def reached_the_broker(link: Any, queue: str) -> None:
    """Wait until the broker has everything that this link was asked to do: it answers in order."""
    answered = threading.Event()
    link.count(queue, lambda _: answered.set())
    assert answered.wait(20), "the broker does not answer"


def dies_before_commit() -> None:
    """The server is killed with results in hand that it has not committed."""
    from distren.amqp.topology import RESULTS
    from distren.server.acting import Acting

    begin, links, stored = Acting.__init__, [], []

    def begin_(self: Any, state: Any, consuming: Any, *arguments: Any, **named: Any) -> None:
        links[:] = [consuming]
        begin(self, state, consuming, *arguments, **named)

    def reach(point: str) -> None:
        if point == "server.result.stored":
            stored.append(point)
        elif point == "server.commit.before" and stored and befalls("dies-before-commit"):
            reached_the_broker(links[0], RESULTS)
            die()

    Acting.__init__ = begin_  # type: ignore[method-assign]
    also_at_each_point(reach)


def dies_before_publish() -> None:
    """The server is killed after it has committed that frames are issued, and before it has published them."""

    def reach(point: str) -> None:
        if point == "server.publish.before" and befalls("dies-before-publish"):
            die()

    also_at_each_point(reach)


def also_at_each_point(reach: Callable[[str], None]) -> None:
    """Have `reach` called at each failpoint, after what is called there already."""
    from distren import failpoints

    before = failpoints.reach

    def both(point: str) -> None:
        before(point)
        reach(point)

    failpoints.reach = both


def dies_before_confirm() -> None:
    """A worker is killed while a result is in its socket still; what it has acknowledged has reached the broker."""
    from distren.amqp.link import Link
    from distren.amqp.topology import EVENTS
    from distren.worker.intake import Intake

    publish, begin = Link.publish, Intake.__init__
    taking: list[Any] = []

    def begin_(self: Any, link: Any, queue: str, *arguments: Any, **named: Any) -> None:
        begin(self, link, queue, *arguments, **named)
        taking[:] = [link, queue]

    def publish_(self: Any, message: Any, done: Any = None) -> None:
        if message.exchange == EVENTS and message.key == "frame.completed" and befalls("dies-before-confirm"):

            def later() -> None:
                time.sleep(0.3)  # whatever the worker does next, it has done
                reached_the_broker(*taking)
                die()

            threading.Thread(target=later).start()
            return
        publish(self, message, done)

    Link.publish, Intake.__init__ = publish_, begin_  # type: ignore[method-assign]


def damages_a_result() -> None:
    """A result changes on its way from the worker."""
    from distren.wire.frames import Completed
    from distren.worker.results import Results

    send = Results._send

    def send_(self: Any, holding: Any, event: Any) -> None:
        if isinstance(event, Completed) and event.tarball and befalls("damages-a-result"):
            body = bytearray(event.tarball)
            body[600] ^= 1  # the first file's bytes begin at 512
            event = event.model_copy(update={"tarball": bytes(body)})
        send(self, holding, event)

    Results._send = send_  # type: ignore[method-assign]


# -- bugs ------------------------------------------------------------------------------------------------------------


def acknowledges_before_commit() -> None:
    """The server tells the broker that it has dealt with what it has only read."""
    from distren.server.acting import Acting

    turn = Acting.turn

    def turn_(self: Any, deliveries: Any) -> None:
        if deliveries:
            self._consuming.acknowledge(deliveries[-1], multiple=True)
        turn(self, deliveries)

    Acting.turn, Acting._acknowledge = turn_, lambda *_: None  # type: ignore[assignment, method-assign]


def no_outbox() -> None:
    """What a change owes to the broker is remembered by the process alone."""
    from distren.storage import outbox

    def add(connection: Any, messages: Any) -> Any:
        return [outbox.Owed(id=0, exchange=exchange, key=key, body=body) for exchange, key, body in messages]

    outbox.add = add


def no_dedup() -> None:
    """Each result that arrives is recorded, also for a frame that has one."""
    from dataclasses import replace

    from distren.domain import frame as frame_rules
    from distren.domain.states import FrameState
    from distren.server.lifecycle import Lifecycle

    def completed(frame: Any, attempt: Any, result: Any, now: float, *, warning: str | None = None) -> Any:
        return replace(
            frame,
            state=FrameState.DONE,
            worker=attempt.worker,
            token=attempt.token,
            started=attempt.started,
            ended=now,
            result=result,
            reason=warning,
            queue=None,
        )

    frame_rules.completed = completed
    Lifecycle._is_over = lambda self, token: False  # type: ignore[method-assign]


def no_confirm() -> None:
    """A worker acknowledges the frame once the result is on its way."""
    from distren.worker.results import Results

    def send_(self: Any, holding: Any, event: Any) -> None:
        from distren.amqp.publisher import Outgoing
        from distren.amqp.topology import EVENTS

        self._link.publish(Outgoing(exchange=EVENTS, key=event.type, body=event.encode(), type=event.type))
        self._on_settled(holding)

    Results._send = send_  # type: ignore[method-assign]


def any_digest() -> None:
    """A result is accepted whatever its bytes are."""
    from distren.server import acting

    store_result = acting.store_result

    def believe(store: Any, event: Any) -> Any:
        if event.tarball is None:
            return store_result(store, event)
        store.put(event.tarball)
        return None

    acting.store_result = believe


NAMES: dict[str, Callable[[], None]] = {
    "dies-before-commit": dies_before_commit,
    "dies-before-publish": dies_before_publish,
    "dies-before-confirm": dies_before_confirm,
    "damages-a-result": damages_a_result,
    "acknowledges-before-commit": acknowledges_before_commit,
    "no-outbox": no_outbox,
    "no-dedup": no_dedup,
    "no-confirm": no_confirm,
    "any-digest": any_digest,
}


def main(names: str, separator: str, program: str, *arguments: str) -> None:
    assert separator == "--"
    from distren.server.reconcile import Reconciler

    Reconciler.check = lambda self, *_, **__: 0  # type: ignore[method-assign]
    for name in filter(None, names.split(",")):
        NAMES[name]()
    sys.argv = [program, *arguments]
    importlib.import_module(f"distren.cli.{program.removeprefix('distren-')}").main()


if __name__ == "__main__":
    main(*sys.argv[1:])
