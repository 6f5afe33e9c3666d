"""Records as clients see them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from distren.domain.groups import Group
from distren.domain.states import FrameState, JobState
from distren.server.fleet import Fleet, Seen
from distren.storage.attempts import AttemptRecord
from distren.storage.files import File
from distren.storage.frames import Stored
from distren.storage.jobs import Job
from distren.storage.workers import WorkerRecord
from distren.urls import Url
from distren.wire.fields import Blob
from distren.wire.jobs import AttemptInfo, FileInfo, FrameInfo, JobInfo, JobNews, LimitsInfo, WorkerInfo

_REASON = 300
"""characters of a reason in a listing, so that 10,000 frames fit into a message; an attempt tells all of it"""


def clock(moment: float) -> str:
    """A time (seconds since 1970) as people here write it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def job_info(job: Job, *, rate: float, why: str) -> JobInfo:
    """A job with its speed, and in `why` one line on what keeps it, if anything."""
    return JobInfo(
        job=job.id,
        name=job.name,
        renderer=job.renderer,
        pool=job.pool,
        priority=job.priority,
        state=str(job.state),
        counts=counts(job),
        created=job.created,
        ended=job.ended,
        width=job.width,
        height=job.height,
        rate=rate,
        error=why,
        renderers=list(job.lanes),
        limits=LimitsInfo(
            time=job.time_limit,
            attempts=job.attempts,
            silence=job.silence_limit,
            memory=job.memory_limit,
            output=job.output_limit,
        ),
    )


def counts(job: Job) -> dict[str, int]:
    """Frames by state, without the states that no frame is in."""
    return {str(state): count for state, count in job.counts.by_state.items() if count}


def job_news(server: str, job: Job, *, rate: float, why: str) -> JobNews:
    return JobNews(server=server, job=job.id, state=str(job.state), counts=counts(job), rate=rate, error=why)


def idle_lanes(job: Job, fleet: Fleet, now: float) -> list[int]:
    """The lanes of a job whose renderer nobody has now; empty where it has one lane only."""
    if len(job.lanes) == 1 or job.state is not JobState.ACTIVE or not job.counts[FrameState.READY]:
        return []
    return [lane for lane, capability in enumerate(job.lanes) if not fleet.can_render(capability, job.pool, now)]


def why_waiting(job: Job, fleet: Fleet, now: float, starving: Sequence[int] = ()) -> str:
    """One line on what keeps a job from going on; empty where nothing does.

    `starving` are those of its idle lanes that hold frames that are ready.
    """
    if job.state is JobState.PAUSED:
        return f"paused: 'distren resume {job.id}' lets it go on"
    waits = job.state is JobState.ACTIVE and job.counts[FrameState.READY] + job.counts[FrameState.QUEUED]
    lacking = [job.lanes[lane] for lane in starving]
    if len(job.lanes) == 1 and waits and not fleet.can_render(job.lanes[0], job.pool, now):
        lacking = [job.lanes[0]]
    if lacking:
        named = " or ".join(f"'{name}'" for name in lacking)
        return f"no worker of pool '{job.pool}' can run {named} now: start one with 'distren-worker'"
    blocked = job.counts[FrameState.BLOCKED]
    if blocked and blocked == job.counts.open:
        return f"{blocked} frames wait for other frames: 'distren frames {job.id}' says for which"
    if job.state is JobState.FAILED:
        lost = job.counts[FrameState.FAILED] + job.counts[FrameState.CANCELLED]
        return f"{lost} of {job.counts.total} frames have no result: 'distren frames {job.id}' says why"
    return ""


def file_info(file: File) -> FileInfo:
    return FileInfo(
        file=file.id,
        kind=file.kind,
        path=file.path,
        blob=None if file.blob is None else Blob.of(file.blob),
        frame=file.frame,
        attempt=file.attempt,
    )


def waits(server: str, stored: Stored, need: tuple[int, int] | None) -> str | None:
    """What a blocked frame waits for: `need` and others; None for a frame that does not wait."""
    if need is None:
        return None
    more = stored.frame.waits_for - 1
    url = Url(server=server, job=need[0], frame=need[1])
    return f"waits for {url}" + (f" and {more} more" if more > 0 else "")


def frame_info(
    stored: Stored,
    progress: Mapping[tuple[int, int], float],
    *,
    waits: str | None = None,
    group: Group | None = None,
    tried: float | None = None,
) -> FrameInfo:
    """A frame; `progress` holds percentages by (job, frame), `waits` says what a blocked one waits for,
    `tried` when the attempt ended because of which it is tried again.
    """
    frame = stored.frame
    said = None if frame.reason is None else frame.reason[:_REASON]
    done = frame.state is FrameState.DONE
    percent = 100.0 if frame.state is FrameState.DONE else 0.0
    if frame.state is FrameState.RENDERING:
        percent = progress.get((frame.job, frame.id), 0.0)
    return FrameInfo(
        frame=frame.id,
        state=str(frame.state),
        attempts=stored.attempts,
        worker=frame.worker,
        started=frame.started,
        ended=frame.ended,
        percent=percent,
        reason=waits or (None if done else said),
        warning=said if done else None,
        result=None if frame.result is None else Blob.of(frame.result),
        waits_for=frame.waits_for,
        renderer=None if group is None else group.renderer,
        label=None if group is None else group.label,
        tried=tried,
        not_before=frame.not_before if frame.not_before and frame.state is FrameState.READY else None,
        intermediate=group is not None and group.intermediate,
    )


def attempt_info(record: AttemptRecord) -> AttemptInfo:
    return AttemptInfo(
        number=record.number,
        issue=record.issue,
        worker=record.worker,
        state=str(record.state),
        started=record.started,
        ended=record.ended,
        seconds=record.seconds,
        reason=record.reason,
        log=record.log or b"",
        memory=record.memory,
        processor=record.processor,
    )


def worker_info(record: WorkerRecord, seen: Seen | None, *, alive: bool, done: int, trouble: str | None) -> WorkerInfo:
    """A worker as the database knows it, with what it said last to this server process."""
    report = seen.report if seen else None
    state = report.state if report else record.state
    return WorkerInfo(
        worker=record.name,
        host=record.host,
        pool=record.pool,
        queue=record.queue,
        renderers=dict(record.renderers),
        slots=report.slots if report else record.slots,
        state=state if alive or state == "ended" else "silent",
        held=list(report.held_frames) if report and alive else [],
        cores=record.cores,
        memory=record.memory,
        seen=record.seen,
        done=done,
        sandboxed=record.sandboxed,
        trouble=None if trouble is None else trouble[:_REASON],
    )
