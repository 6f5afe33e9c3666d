"""Brings the results of frames here: several at a time, handed on one by one in the order asked for."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from distren.amqp.blobs import BlobReceiver
from distren.client.connection import Connection
from distren.domain.job import Blob
from distren.storage.blobstore import BlobStore
from distren.wire.jobs import FrameInfo

OnBytes = Callable[[int], None]
AT_ONCE = 16
"""results under way; more do not go faster, since one connection carries them"""
FROM_A_PEER = 4
"""the same from a peer: what is asked for, up to 16 MiB of each, waits in brokers where the line is slow"""
AHEAD = 64
"""results that may lie on the disk before their turn comes"""


class Results:
    """The results of a farm's frames. Each use has a connection of its own: bulk never delays replies and news."""

    def __init__(self, url: str, peer: str | None = None) -> None:
        """`peer`: who holds the results, where that is a peer of the server that is here."""
        self._url, self._peer = url, peer

    def at(self, peer: str | None) -> Results:
        """The results that another server holds."""
        return Results(self._url, peer)

    def brought(
        self, frames: Sequence[FrameInfo], folder: Path, *, keep: bool = False, on_bytes: OnBytes | None = None
    ) -> Iterator[tuple[FrameInfo, Path]]:
        """Each of the done `frames` with its tarball, a file in `folder` that is gone after its turn unless `keep`.

        What is in `folder` already, whole or in part, does not travel again; `on_bytes` is told of what does, from
        any thread. Raises TransferError, NotFound and NoAnswer where a result can not be had.
        """
        if not frames:
            return
        with self._receiving(folder, on_bytes) as fetch:
            at_once = AT_ONCE if self._peer is None else FROM_A_PEER
            executor = ThreadPoolExecutor(at_once, thread_name_prefix="result")
            try:
                yield from _in_order(frames, fetch, executor, keep=keep)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def one(self, blob: Blob, folder: Path, *, on_bytes: OnBytes | None = None) -> Path:
        """One blob, a file in `folder`; raises as `brought` does."""
        with self._receiving(folder, on_bytes) as fetch:
            return fetch(blob)

    @contextmanager
    def _receiving(self, folder: Path, on_bytes: OnBytes | None) -> Iterator[Callable[[Blob], Path]]:
        connection = Connection(self._url)
        store = BlobStore(folder, durable=False)
        receiver = BlobReceiver(connection.link, connection.mailbox, connection.queue, store, server=self._peer)
        connection.start()
        try:
            yield lambda blob: receiver.fetch(blob, on_bytes=None if on_bytes is None else _beyond_the_first(on_bytes))
        finally:
            connection.close()


def _beyond_the_first(on_bytes: OnBytes) -> OnBytes:
    """The receiver tells first what was on the disk already, then what arrives."""
    calls = itertools.count()
    return lambda count: on_bytes(count) if next(calls) else None


def _in_order(
    frames: Sequence[FrameInfo], fetch: Callable[[Blob], Path], executor: ThreadPoolExecutor, *, keep: bool
) -> Iterator[tuple[FrameInfo, Path]]:
    """Frames with equal results share one file, which is removed after the last of them unless `keep`."""
    uses = Counter(frame.result.digest for frame in frames if frame.result is not None)
    under_way: dict[str, Future[Path]] = {}
    line: deque[FrameInfo] = deque()
    rest = iter(frames)
    while True:
        while len(line) < AHEAD and (frame := next(rest, None)) is not None:
            if frame.result is None:
                continue
            if frame.result.digest not in under_way:
                under_way[frame.result.digest] = executor.submit(fetch, frame.result.value())
            line.append(frame)
        if not line:
            return
        frame = line.popleft()
        assert frame.result is not None
        digest = frame.result.digest
        path = under_way[digest].result()
        yield frame, path
        uses[digest] -= 1
        if not uses[digest]:
            if not keep:
                path.unlink(missing_ok=True)
            del under_way[digest]
