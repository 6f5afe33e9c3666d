"""What has become of a job so far, as blobs that travel with it to the server which takes it over."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, Engine

from distren.domain import frameset
from distren.domain.job import Blob
from distren.domain.states import AttemptState, FrameState
from distren.server import seeds
from distren.storage import attempts as attempt_rows
from distren.storage import frames as frame_rows
from distren.storage.attempts import AttemptRecord
from distren.storage.blobstore import BlobStore
from distren.storage.frames import Stored
from distren.wire import fields
from distren.wire.codec import LARGEST_MESSAGE
from distren.wire.moves import DoneFrame, FramesSoFar

_FRAMES = 1_000
"""frames that are read in one transaction, so that others wait for milliseconds only"""
_LARGEST = 4 * 2**20
"""bytes of logs in one blob; with the rest it is well below what a message may have"""


def pack(engine: Engine, store: BlobStore, job: int) -> tuple[list[Blob], list[Blob]]:
    """The blobs that say what has become of a job's frames, and the results that they name. All are in the store."""
    parts: list[Blob] = []
    results: dict[str, Blob] = {}
    for done, cancelled in _parts(engine, job):
        parts.append(store.put(FramesSoFar(done=done, cancelled=cancelled).encode()))
        results.update((one.result.digest, one.result.value()) for one in done)
    return parts, list(results.values())


def unpack(
    store: BlobStore, part: Blob, job: int, peer: str
) -> tuple[list[tuple[AttemptRecord, Blob]], Iterable[range]]:
    """The attempts of a part with their results, as those of `job` here, and the frames that were called off.

    Raises NotFound and DecodeError.
    """
    body = seeds.read_blob(store, part, "what has become of the job", LARGEST_MESSAGE)
    frames = FramesSoFar.expect(body)
    done = [(_attempt(one, job, peer), one.result.value()) for one in frames.done]
    return done, [range(first, last + 1, step) for first, last, step in frames.cancelled]


def _parts(engine: Engine, job: int) -> Iterator[tuple[list[DoneFrame], list[tuple[int, int, int]]]]:
    after, more = -1, True
    done: list[DoneFrame] = []
    size = 0
    while more:
        with engine.begin() as connection:
            page = frame_rows.of_job(
                connection, job, after=after, limit=_FRAMES, states=[FrameState.DONE, FrameState.CANCELLED]
            )
            found = [_done(connection, one) for one in page if one.frame.state is FrameState.DONE]
        called_off = [one.frame.id for one in page if one.frame.state is FrameState.CANCELLED]
        cancelled = [(part[0], part[-1], part.step) for part in frameset.of(called_off).ranges] if called_off else []
        for one in found:
            if done and size + len(one.log) > _LARGEST:
                yield done, []
                done, size = [], 0
            done.append(one)
            size += len(one.log)
        if done or cancelled:
            yield done, cancelled
            done, size = [], 0
        more = len(page) == _FRAMES
        after = page[-1].frame.id if page else after


def _done(connection: Connection, stored: Stored) -> DoneFrame:
    frame = stored.frame
    assert frame.result is not None
    found = attempt_rows.of_frame(connection, frame.job, frame.id)
    attempt = next((one for one in found if one.token == frame.token), None)
    started, ended = frame.started or 0.0, frame.ended or 0.0
    return DoneFrame(
        frame=frame.id,
        result=fields.Blob.of(frame.result),
        number=stored.attempts,
        issue=frame.issue,
        worker=frame.worker or "nobody",
        started=started,
        ended=ended,
        warning=None if frame.reason is None else frame.reason[:2_000],
        seconds=attempt.seconds if attempt else None,
        log=(attempt.log if attempt else None) or b"",
        memory=attempt.memory if attempt else None,
        processor=attempt.processor if attempt else None,
        file=attempt.file if attempt else None,
    )


def _attempt(one: DoneFrame, job: int, peer: str) -> AttemptRecord:
    """A peer's attempt among ours; its token may stand here already, of a frame that was lent to us."""
    return AttemptRecord(
        token=secrets.token_hex(16),
        job=job,
        frame=one.frame,
        number=one.number,
        issue=one.issue,
        worker=f"{peer}/{one.worker}"[:200],
        state=AttemptState.DONE,
        started=one.started,
        ended=one.ended,
        seconds=one.seconds,
        reason=one.warning,
        log=one.log or None,
        memory=one.memory,
        processor=one.processor,
        file=one.file,
        result=one.result.digest,
        result_size=one.result.size,
    )
