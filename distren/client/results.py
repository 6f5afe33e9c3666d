"""Brings the results of frames here: several at a time, handed on one by one in the order asked for."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from distren.amqp.blobs import BlobReceiver
from distren.client.connection import Connection
from distren.storage.blobstore import BlobStore
from distren.wire.jobs import FrameInfo

AT_ONCE = 16
"""results under way; more do not go faster, since one connection carries them"""
AHEAD = 64
"""results that may lie on the disk before their turn comes"""


class Results:
    """The results of a farm's frames. Each use has a connection of its own: bulk never delays replies and news."""

    def __init__(self, url: str) -> None:
        self._url = url

    def brought(self, frames: Sequence[FrameInfo], scratch: Path) -> Iterator[tuple[FrameInfo, Path]]:
        """Each of the done `frames` with its tarball, a file in the folder `scratch` that is gone after its turn.

        Raises TransferError, NotFound and NoAnswer where a result can not be had.
        """
        if not frames:
            return
        connection = Connection(self._url)
        receiver = BlobReceiver(
            connection.link, connection.mailbox, connection.queue, BlobStore(scratch, durable=False)
        )
        connection.start()
        executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="result")
        try:
            yield from _in_order(frames, receiver, executor)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            connection.close()


def _in_order(
    frames: Sequence[FrameInfo], receiver: BlobReceiver, executor: ThreadPoolExecutor
) -> Iterator[tuple[FrameInfo, Path]]:
    """Frames with equal results share one file, which is removed after the last of them."""
    uses = Counter(frame.result.digest for frame in frames if frame.result is not None)
    under_way: dict[str, Future[Path]] = {}
    line: deque[FrameInfo] = deque()
    rest = iter(frames)
    while True:
        while len(line) < AHEAD and (frame := next(rest, None)) is not None:
            if frame.result is None:
                continue
            if frame.result.digest not in under_way:
                under_way[frame.result.digest] = executor.submit(receiver.fetch, frame.result.value())
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
            path.unlink(missing_ok=True)
            del under_way[digest]
