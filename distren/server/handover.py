"""Hands a job that a client of ours submits on to the peer that it is for: the files that it lacks, then the job."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from distren.amqp.link import Delivery
from distren.domain.job import Blob
from distren.errors import DistrenError, NoAnswer
from distren.federation.member import Member
from distren.jobfile.manifest import read_manifest
from distren.server import seeds
from distren.server.answers import problem
from distren.storage.blobstore import BlobStore
from distren.wire.codec import LARGEST_MESSAGE, Message
from distren.wire.jobs import Submit, Submitted
from distren.wire.peers import Forwarding

log = logging.getLogger(__name__)

_AT_ONCE = 4
PATIENCE = 20.0
"""seconds after which a peer that has not answered is asked again"""
_SILENCE = 120.0
"""seconds without a byte after which a peer is given up; what it has got, it keeps"""
_TELL_AFTER = 3.0
"""seconds after which a client that waits is told how far it is"""
_KEPT = 600.0
"""seconds for which an outcome is remembered, for clients that ask again"""

Reply = Callable[[Delivery, Message], None]


@dataclass(kw_only=True)
class _Task:
    """A job on its way; `waiting` are the requests to be answered, with the steady time at which they came."""

    sent: int = 0
    missing: int = 0
    outcome: Message | None = None
    ended: float = 0.0
    waiting: list[tuple[Delivery, float]] = field(default_factory=list)


class Handover:
    """A request for a job with the same key, repeated, is told how far it is, and in the end what the peer says."""

    def __init__(self, store: BlobStore, reply: Reply, steady: Callable[[], float]) -> None:
        self._store, self._reply, self._steady = store, reply, steady
        self._lock = threading.Lock()
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._carriers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="handover")

    def ask(self, member: Member, delivery: Delivery, submit: Submit) -> None:
        """Begin, or say how it goes."""
        key = (member.name, submit.key)
        with self._lock:
            task = self._tasks.get(key)
            if task is not None and task.outcome is not None:
                outcome = task.outcome
            else:
                if task is None:
                    task = self._tasks[key] = _Task()
                    self._carriers.submit(self._carry, member, submit, task)
                task.waiting.append((delivery, self._steady()))
                return
        self._reply(delivery, outcome)

    def look(self) -> None:
        """Now and then: say to those who wait how it goes, and forget what ended long ago."""
        steady = self._steady()
        with self._lock:
            told = []
            for key, task in list(self._tasks.items()):
                late = [one for one in task.waiting if steady - one[1] > _TELL_AFTER]
                task.waiting = [one for one in task.waiting if one not in late]
                told += [(delivery, Forwarding(sent=task.sent, missing=task.missing)) for delivery, _ in late]
                if task.outcome is not None and steady - task.ended > _KEPT:
                    del self._tasks[key]
        for delivery, forwarding in told:
            self._reply(delivery, forwarding)

    def stop(self) -> None:
        self._carriers.shutdown(wait=False, cancel_futures=True)

    def _carry(self, member: Member, submit: Submit, task: _Task) -> None:
        try:
            outcome: Message = self._hand_over(member, submit, task)
        except DistrenError as error:
            outcome = problem(error)
        except Exception:
            log.exception("a job could not be handed over", extra={"peer": member.name})
            outcome = problem(DistrenError("the job could not be handed over: the server's log says why"))
        with self._lock:
            task.outcome, task.ended = outcome, self._steady()
            waiting, task.waiting = task.waiting, []
        for delivery, _ in waiting:
            self._reply(delivery, outcome)

    def _hand_over(self, member: Member, submit: Submit, task: _Task) -> Submitted:
        def note(sent: int, missing: int) -> None:
            task.sent, task.missing = sent, missing

        member.uploads.offer_all(self._files(submit), on_bytes=note, timeout=_SILENCE)
        until = self._steady() + _SILENCE
        while True:
            try:
                return member.ask(submit, Submitted, PATIENCE)
            except NoAnswer:  # its key makes that one job, however often the peer is asked
                if self._steady() > until:
                    raise

    def _files(self, submit: Submit) -> list[tuple[Blob, Path]]:
        """Everything that the job consists of. Raises NotFound where the client has not uploaded it to us."""
        manifest = submit.manifest.value()
        inputs = read_manifest(seeds.read_blob(self._store, manifest, "the manifest", LARGEST_MESSAGE))
        blobs = {blob.digest: blob for blob in (manifest, *(file.blob for file in inputs))}
        return [(blob, self._store.path(digest)) for digest, blob in blobs.items()]
