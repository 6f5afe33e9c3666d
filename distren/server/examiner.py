"""Has seeds examined by another process (server/examination.py), so that a hostile one costs the server nothing."""

from __future__ import annotations

import json
import logging
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from distren import errors
from distren.domain.job import Blob
from distren.errors import DistrenError, JobFileError, NotFound, OutputError
from distren.limits import Limits
from distren.server.examination import BEGUN
from distren.server.seeds import Refusal, Seed
from distren.storage.blobstore import BlobStore

log = logging.getLogger(__name__)

_AT_ONCE = 2
"""examinations; more do not go faster on a small machine, and each may take the memory that one may"""
_STEP = 2**16
_LARGEST_ANSWER = 64 * 2**20
"""bytes; a manifest of 8 MiB comes back as no more than this"""
_END_WITHIN = 5.0
"""seconds"""

OnExamined = Callable[[Seed | DistrenError], None]


class Examiner:
    """Examines seeds in `store`, from `start` to `close`. Any thread may call anything."""

    def __init__(self, store: BlobStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._askers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="examination")

    def start(self) -> None:
        """Start the process that examines, without waiting for it."""
        with self._lock:
            self._start()

    def close(self) -> None:
        """End that process; what is being examined gets no answer."""
        self._askers.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._end()

    def ask(self, manifest: Blob, on_examined: OnExamined) -> None:
        """Examine the seed of this manifest; `on_examined` is called from another thread."""

        def run() -> None:
            try:
                on_examined(self.examine(manifest))
            except DistrenError as error:
                on_examined(error)
            except Exception:
                log.exception("a seed could not be examined")
                on_examined(DistrenError("the server failed at examining the seed: its log says why"))

        with suppress(RuntimeError):  # closed: whoever asked asks the next server
            self._askers.submit(run)

    def examine(self, manifest: Blob) -> Seed:
        """The job of this manifest. Raises what is wrong with it, and JobFileError where that takes too much to say."""
        answer = self._asked(manifest) or self._asked(manifest)
        if not answer:
            raise OutputError("seeds can not be examined now: the server gets no process for it; try again later")
        if not answer.endswith(pickle.STOP):
            raise JobFileError(
                f"the seed can not be used: examining it takes more than {self._limits.examination_seconds} s of "
                f"processor time or {self._limits.examination_memory} bytes of memory: describe the job with less"
            )
        found = pickle.loads(answer[len(BEGUN) :])
        if isinstance(found, Refusal):
            raise errors.by_name(found.error)(found.text)
        assert isinstance(found, Seed)
        self._claim(found)
        return found

    def _claim(self, seed: Seed) -> None:
        """What the job is going to name stays in the store. Raises NotFound."""
        for blob in (seed.manifest, *(file.blob for file in seed.inputs)):
            if self._store.claim(blob.digest) is None:
                raise NotFound("a file of the job is not here any more: submit it again")

    def _asked(self, manifest: Blob) -> bytes:
        """As much of an answer as there is; empty where the examination has not begun: then the process has ended."""
        reading, writing = os.pipe()
        try:
            try:
                process = self._send(manifest, writing)
            finally:
                os.close(writing)
            answer = self._read(reading)
        finally:
            os.close(reading)
        if not answer:
            with self._lock:
                if self._process is process:
                    log.warning("the process that examines seeds has not begun with one: it is started anew")
                    self._end()
        return answer

    def _send(self, manifest: Blob, pipe: int) -> subprocess.Popen[bytes]:
        """Ask the process, which is returned."""
        request = {
            "store": str(self._store.folder),
            "digest": manifest.digest,
            "size": manifest.size,
            "limits": self._limits.model_dump(),
        }
        data = json.dumps(request).encode()
        with self._lock:
            for last in (False, True):
                if self._requests is None:
                    self._start()
                assert self._requests is not None
                assert self._process is not None
                try:
                    socket.send_fds(self._requests, [data], [pipe])
                    return self._process
                except OSError as error:
                    if last:
                        raise OutputError(f"seeds can not be examined now: {error}") from error
                    log.warning("the process that examines seeds is started anew: %s", error)
                    self._end()
        raise AssertionError("unreachable")

    def _read(self, pipe: int) -> bytes:
        """What comes in time, and is not too much; only a whole answer ends as a pickle does."""
        parts: list[bytes] = []
        size, deadline = 0, time.monotonic() + self._limits.examination_patience
        while size <= _LARGEST_ANSWER:
            ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                break
            part = os.read(pipe, _STEP)
            if not part:
                break
            parts.append(part)
            size += len(part)
        answer = b"".join(parts)
        return answer if size <= _LARGEST_ANSWER else BEGUN

    # -- with the lock held ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "distren.server.examination", str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._requests = ours

    def _end(self) -> None:
        """The process ends when its socket does."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:
            try:
                self._process.wait(_END_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
