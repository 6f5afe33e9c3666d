"""Takes over whole jobs that peers hand to this server: with what is done of them, in one transaction."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from distren import failpoints
from distren.domain.job import Blob
from distren.errors import DistrenError
from distren.federation.receiver import After
from distren.server import belongings, intake, seeds
from distren.server.changes import Changed
from distren.server.federation import Federation
from distren.server.lifecycle import Lifecycle
from distren.server.seeds import Seed
from distren.server.state import State
from distren.storage import jobs as job_rows
from distren.storage import peers
from distren.wire.jobs import Submit
from distren.wire.moves import TakenOver, TakeOver


class TakeOvers:
    """`note` takes what has changed."""

    def __init__(self, state: State, federation: Federation, *, note: Callable[[Changed], None]) -> None:
        self._state, self._federation, self._note = state, federation, note
        federation.on(TakeOver, self._hear)

    def _hear(self, connection: Connection, peer: str, message: TakeOver) -> After | None:
        try:
            with connection.begin_nested():
                job, changed = self._take(connection, peer, message)
        except DistrenError as error:
            self._answer(connection, peer, message, None, error)
            return None
        self._answer(connection, peer, message, job)
        failpoints.reach("server.move.take.before")

        def take() -> None:
            failpoints.reach("server.move.take.after")
            self._note(changed)

        return take

    def _answer(
        self,
        connection: Connection,
        peer: str,
        message: TakeOver,
        became: int | None,
        error: DistrenError | None = None,
    ) -> None:
        kind, reason = ("", "") if error is None else (type(error).__name__, str(error)[:2_000])
        answer = TakenOver(job=message.job, key=message.key, became=became, error=kind, reason=reason)
        self._federation.send(connection, peer, answer)

    def _take(self, connection: Connection, peer: str, message: TakeOver) -> tuple[int, Changed]:
        """The id that the job has here. Raises what a submission is refused with."""
        state = self._state
        if (known := job_rows.by_key(connection, message.key)) is not None:
            return known.id, Changed()
        self._federation.check_quota(connection, peer)
        seed = self._seed(message.manifest.value())
        intake.check_renderers(seed.spec, state.fleet, state.steady())
        submit = Submit(manifest=message.manifest, key=message.key)
        job, _ = intake.record(connection, submit, seed, state.now(), state.lending.resolve)
        state.waterline.note(job)
        peers.note_job(connection, peer, job)
        return job, self._settle(connection, peer, message, job)

    def _seed(self, manifest: Blob) -> Seed:
        """The job of this manifest, which as a rule has been examined before. Raises what is wrong with it."""
        state = self._state
        found = state.examined.get(manifest.digest)
        if found is None:
            found = state.examine(manifest) if state.examine else seeds.read_seed(state.store, manifest, state.limits)
        if isinstance(found, DistrenError):
            raise found
        return found

    def _settle(self, connection: Connection, peer: str, message: TakeOver, job: int) -> Changed:
        """Make the new job what it was at the peer."""
        lifecycle = Lifecycle(connection, self._state.now())
        cancelled: list[range] = []
        for part in message.frames:
            done, called_off = belongings.unpack(self._state.store, part.value(), job, peer)
            lifecycle.bring(job, done, next_file=message.next_file)
            cancelled += called_off
        if cancelled:
            lifecycle.cancel(job, cancelled)
        lifecycle.set_priority(job, message.priority)
        if message.paused:
            lifecycle.pause(job)
        return lifecycle.save()
