"""Asks a farm, after a trial, for everything that it has recorded, and brings the results here."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from distren.amqp import topology
from distren.amqp.link import Consumer, Delivery, Link
from distren.client.farm import Farm
from distren.client.job import Job
from distren.domain.states import AttemptState, FrameState
from distren.errors import DecodeError, DistrenError
from distren.wire.codec import decode
from distren.wire.jobs import AttemptInfo, FrameNews
from trials.checker import Recorded
from trials.renderlog import Key
from trials.submitter import Promise

_AT_ONCE = 8
Told = dict[tuple[int, int], set[float]]
"""when a frame of a job ended, as listeners were told: once, unless its result was recorded again"""


class Listener:
    """Hears the news of all frames, on a connection that no fault touches, but for the broker's own.

    With `server`, of its frames alone: a server also passes on news of its peers.
    """

    def __init__(self, url: str, server: str | None = None) -> None:
        queue = topology.Queue(name="client.trial-listener", exclusive=True, bindings=((topology.NEWS, "frame.#"),))
        news = [one for one in topology.EXCHANGES if one.name == topology.NEWS]
        self.told: Told = defaultdict(set)
        self._server = server
        self._link = Link(url, name="trial listener", exchanges=news, queues=[queue])
        self._link.consume(Consumer(queue=queue.name, tag="news", on_delivery=self._hear, automatic=True))
        self._link.start()

    def close(self) -> None:
        self._link.close()

    def _hear(self, delivery: Delivery) -> None:
        try:
            news = decode(delivery.body)
        except DecodeError:
            return
        if isinstance(news, FrameNews) and self._server in (None, news.server):
            for frame in news.frames:
                if frame.state == FrameState.DONE and frame.ended is not None:
                    self.told[news.job, frame.frame].add(frame.ended)


def recorded(farm: Farm, promises: Sequence[Promise], told: Told) -> dict[Key, Recorded]:
    """The frames that are done, by the attempts whose results are recorded. Raises DistrenError."""
    found: dict[Key, Recorded] = {}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for promise in promises:
            job = farm.job(promise.job)
            done = [frame.frame for frame in job.frames([FrameState.DONE])]
            for frame, attempts in zip(done, threads.map(job.attempts, done), strict=True):
                found[promise.token, frame] = Recorded(
                    attempts=[_written(one) for one in attempts if one.state == AttemptState.DONE],
                    times=frozenset(told.get((promise.job, frame), ())),
                )
    return found


def _written(attempt: AttemptInfo) -> str:
    """The name that the program gave itself: the first line of its log."""
    text = zlib.decompress(attempt.log).decode() if attempt.log else ""
    words = text.split()
    return words[words.index("attempt") + 1] if "attempt" in words else "unknown"


def fetched(farm: Farm, promises: Sequence[Promise], folder: Path) -> tuple[dict[Key, str | None], list[str]]:
    """SHA-256 of each frame's file as it is in the job's bundle, and why a bundle could not be fetched."""
    found: dict[Key, str | None] = {
        (promise.token, frame): None for promise in promises for frame in range(1, promise.frames + 1)
    }
    trouble = []
    for promise in promises:
        job = farm.job(promise.job)
        try:
            bundles = [job.fetch(folder / f"{promise.token}.tar", partial=True).target]
        except DistrenError as error:
            trouble.append(f"the bundle of job {promise.job} can not be fetched: {error}")
            bundles = _one_by_one(job, promise, folder)
        for bundle in bundles:
            found.update({(promise.token, frame): digest for frame, digest in _contents(bundle).items()})
    return found, trouble


def _one_by_one(job: Job, promise: Promise, folder: Path) -> list[Path]:
    """A bundle for each frame that can be had."""
    made = []
    for frame in range(1, promise.frames + 1):
        with suppress(DistrenError):
            made.append(job.fetch(folder / f"{promise.token}-{frame}.tar", frames=[frame]).target)
    return made


def _contents(bundle: Path) -> dict[int, str]:
    """The SHA-256 of each frame's file. Python's own reader opens the bundle: it is not ours that is to be believed."""
    found = {}
    with tarfile.open(bundle) as tarball:
        for member in tarball:
            file = tarball.extractfile(member)
            assert file is not None, f"{bundle} holds {member.name}, which is no file"
            found[int(member.name.removeprefix("frame-").removesuffix(".dat"))] = hashlib.sha256(
                file.read()
            ).hexdigest()
    return found
