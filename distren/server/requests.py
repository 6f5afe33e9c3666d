"""Answers clients: each request type has one function from (server's state, message) to the reply."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any

from distren import __version__, failpoints
from distren.domain.states import FRAME_ENDED, FrameState
from distren.errors import DecodeError, InputError
from distren.server import deletion, intake, seeds, views
from distren.server.changes import Changed
from distren.server.lifecycle import Lifecycle
from distren.server.masschange import MassChange
from distren.server.seeds import Seed
from distren.storage import attempts as attempt_rows
from distren.storage import dependencies, far, groups
from distren.storage import files as file_rows
from distren.storage import frames as frame_rows
from distren.storage import jobs as job_rows
from distren.storage import workers as worker_rows
from distren.storage.dependencies import Key
from distren.storage.far import FarJob
from distren.storage.frames import Stored
from distren.wire import jobs as wire
from distren.wire.codec import Message
from distren.wire.frames import Stop
from distren.wire.moves import Move
from distren.wire.peers import Watch

if TYPE_CHECKING:
    from distren.server.state import State

Steps = Generator[None, None, Message]
"""a long change, a part at a time, each in a transaction of its own; at its end comes the reply"""
Handler = Callable[["State", Any], Message | Steps]


def answer(state: State, message: Message, seed: Seed | None = None) -> Message | Steps:
    """The reply to a request, or what leads to it; raises DistrenError, which the caller sends as a Problem.

    `seed` is that of a submission, where another process has examined it.
    """
    if isinstance(message, wire.Submit) and seed is not None:
        return _take_in(state, message, seed)
    if not isinstance(message, Move) and (moved := state.moves.forward(getattr(message, "job", -1))) is not None:
        return moved
    handler = _HANDLERS.get(type(message))
    if handler is None:
        raise DecodeError(f"a server does not answer messages of type {message.type}")
    return handler(state, message)


def _describe(state: State, message: wire.Describe) -> Message:
    return wire.Description(
        server=state.name,
        software=__version__,
        renderers=state.fleet.renderers(state.steady()),
        database=state.database,
    )


def _submit(state: State, message: wire.Submit) -> Steps:
    """Examine the seed here and now: only where no other process does."""
    return _take_in(state, message, seeds.read_seed(state.store, message.manifest.value(), state.limits))


def _take_in(state: State, message: wire.Submit, seed: Seed) -> Steps:
    """Take a job in whose seed has been examined."""
    intake.check_renderers(seed.spec, state.fleet, state.steady())
    taking = intake.Taking(message.key, seed, state.now(), state.lending.resolve)
    done = False
    try:
        while not done:
            with state.engine.begin() as connection:
                done = taking.part(connection)
                record = job_rows.by_id(connection, taking.job) if done else None
                state.waterline.note(taking.job)
                failpoints.reach("server.request.commit.before")
            failpoints.reach("server.request.commit.after")
            if not done:
                state.arriving.add(taking.job)
                yield
    finally:
        state.arriving.discard(taking.job)
        state.sweeping = state.sweeping or not done
    if record is not None:
        state.changed.append(Changed(jobs=[record]))
    return wire.Submitted(server=state.name, job=taking.job, frames=taking.frames)


def _list_jobs(state: State, message: wire.ListJobs) -> Message:
    with state.engine.begin() as connection:
        found = job_rows.newest(connection, before=message.before, limit=message.limit)
    return wire.Jobs(server=state.name, jobs=[state.job_info(job) for job in found])


def _show_job(state: State, message: wire.ShowJob | Watch) -> Message:
    with state.engine.begin() as connection:
        job = Lifecycle(connection, state.now()).shown_job(message.job)
    return wire.ShownJob(server=state.name, job=state.job_info(job))


def _list_frames(state: State, message: wire.ListFrames) -> Message:
    with state.engine.begin() as connection:
        Lifecycle(connection, state.now()).shown_job(message.job)
        found = frame_rows.of_job(
            connection, message.job, after=message.after, limit=message.limit + 1, states=message.states
        )
        blocked = [stored.frame.id for stored in found if stored.frame.state is FrameState.BLOCKED]
        waits = dependencies.waits(connection, message.job, blocked)
        away = far.every(connection) if waits else {}
        notes = far.notes(connection) if away else {}
        again = [one.frame.id for one in found if one.frame.reason and one.frame.state not in FRAME_ENDED]
        tried = attempt_rows.last_trouble(connection, message.job, again)
        named = groups.load(connection, message.job, {one.group for one in found if one.group is not None})
    shown = [
        views.frame_info(
            stored,
            state.progress,
            waits=_waits(state, stored, waits.get(stored.frame.id), away, notes),
            group=None if stored.group is None else named[stored.group],
            tried=tried.get(stored.frame.id),
        )
        for stored in found[: message.limit]
    ]
    return wire.Frames(frames=shown, more=len(found) > message.limit)


def _waits(
    state: State, stored: Stored, need: Key | None, away: Mapping[int, FarJob], notes: Mapping[Key, str]
) -> str | None:
    """What a blocked frame waits for; where that is at another server, also what keeps it there."""
    if need is None or need[0] not in away:
        return views.waits(state.name, stored, need)
    job = away[need[0]]
    trouble = state.lending.trouble(job.peer) or notes.get(need, "")
    waits = views.waits(job.peer, stored, (job.of_job, need[1]))
    return f"{waits}: {trouble}" if trouble else waits


def _list_attempts(state: State, message: wire.ListAttempts) -> Message:
    with state.engine.begin() as connection:
        Lifecycle(connection, state.now()).frame(message.job, message.frame)
        found = attempt_rows.of_frame(connection, message.job, message.frame)
    return wire.Attempts(attempts=[views.attempt_info(record) for record in found])


def _list_files(state: State, message: wire.ListFiles) -> Message:
    with state.engine.begin() as connection:
        Lifecycle(connection, state.now()).shown_job(message.job)
        found, more = file_rows.of_job(connection, message.job, after=message.after, limit=message.limit)
    return wire.Files(files=[views.file_info(stored) for stored in found], more=more)


def _list_workers(state: State, message: wire.ListWorkers) -> Message:
    now = state.steady()
    with state.engine.begin() as connection:
        known = worker_rows.all_known(connection)
        done = attempt_rows.done_by_worker(connection)
    shown = [
        views.worker_info(
            record,
            state.fleet.last(record.name),
            alive=state.fleet.is_alive(record.name, now),
            done=done.get(record.name, 0),
            trouble=state.ward.reason(record.name),
        )
        for record in known
    ]
    return wire.Workers(workers=sorted(shown, key=lambda one: (one.state in ("silent", "ended"), one.worker)))


def _release_worker(state: State, message: wire.ReleaseWorker) -> Message:
    state.ward.release(message.worker)
    listed = _list_workers(state, wire.ListWorkers())
    assert isinstance(listed, wire.Workers)
    return wire.Workers(workers=[one for one in listed.workers if one.worker == message.worker])


def _change(state: State, message: wire.Change) -> Message | Steps:
    if message.action in ("cancel", "retry"):
        return _change_many(state, message)
    with state.engine.begin() as connection:
        lifecycle = Lifecycle(connection, state.now())
        lifecycle.shown_job(message.job)
        state.moves.check_change(connection, message)
        match message.action:
            case "pause":
                lifecycle.pause(message.job)
            case "resume":
                lifecycle.resume(message.job)
            case "priority":
                if message.priority is None:
                    raise InputError("a change of priority names the new priority, 0 to 100")
                lifecycle.set_priority(message.job, message.priority)
            case "delete":
                deletion.delete(
                    connection,
                    lifecycle,
                    message.job,
                    force=message.force,
                    now=state.now(),
                    arriving=state.arriving,
                )
                state.sweeping = True
        changed = lifecycle.save()
        job = lifecycle.job(message.job)
    state.changed.append(changed)
    if message.action in ("pause", "priority", "delete"):
        state.rearrange(Stop(job=message.job) if message.action == "delete" else None)
    return wire.ShownJob(server=state.name, job=state.job_info(job))


def _change_many(state: State, message: wire.Change) -> Steps:
    assert message.action in ("cancel", "retry")
    ranges = None if message.frames is None else [range(first, last + 1, step) for first, last, step in message.frames]
    change = MassChange(message.job, message.action, ranges)
    done = False
    while not done:
        with state.engine.begin() as connection:
            lifecycle = Lifecycle(connection, state.now())
            lifecycle.shown_job(message.job)
            state.moves.check_change(connection, message)
            done = change.part(connection, lifecycle)
            changed = lifecycle.save()
            job = lifecycle.job(message.job)
        state.changed.append(changed)
        if (stop := change.stop()) is not None:
            state.rearrange(stop)
        if not done:
            yield
    return wire.ShownJob(server=state.name, job=state.job_info(job))


def _move(state: State, message: Move) -> Message:
    return state.moves.move(message)


_HANDLERS: dict[type[Message], Handler] = {
    wire.Describe: _describe,
    wire.Submit: _submit,
    wire.ListJobs: _list_jobs,
    wire.ShowJob: _show_job,
    Watch: _show_job,
    wire.ListFrames: _list_frames,
    wire.ListAttempts: _list_attempts,
    wire.ListFiles: _list_files,
    wire.ListWorkers: _list_workers,
    wire.ReleaseWorker: _release_worker,
    wire.Change: _change,
    Move: _move,
}
