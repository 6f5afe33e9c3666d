"""Examines seeds, which anybody may have made, each in a process of its own that can do no harm.

`python -m distren.server.examination FD` imports all that an examination needs, and then forks for each request that
comes over the socket FD: a datagram of JSON with a pipe for the answer. The fork has little memory, little time, and no
right to write a file; what becomes of it concerns nobody else. The answer is BEGUN and then a pickle (`Seed` or
`Refusal`); a pipe that ends after BEGUN says that the examination was ended by its limits, one that ends without that
says nothing of the seed.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from distren.domain.job import Blob
from distren.errors import DistrenError, JobFileError
from distren.limits import Limits
from distren.renderers import registry
from distren.server import seeds
from distren.server.seeds import Refusal, Seed
from distren.storage.blobstore import BlobStore

LONGEST_REQUEST = 65_536
"""bytes"""
BEGUN = b"\n"
"""the first byte of an answer"""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def examine(store: BlobStore, manifest: Blob, limits: Limits) -> Seed | Refusal:
    """The job that a manifest in the store describes, or why there is none."""
    try:
        return seeds.read_seed(store, manifest, limits)
    except DistrenError as error:
        return Refusal(error=type(error).__name__, text=str(error))
    except MemoryError:
        text = f"the seed can not be used: reading it takes more than {limits.examination_memory} bytes of memory"
        return Refusal(error=JobFileError.__name__, text=text)


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the server, whose end ends the socket
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a fork ended
        registry.installed()
        while True:
            data, pipes, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 1)
            if not data:
                return
            with suppress(OSError):  # no process to be had: the pipe ends without an answer
                if os.fork() == 0:
                    requests.close()
                    _answer(json.loads(data), pipes[0])
            for pipe in pipes:
                os.close(pipe)


def _answer(request: dict[str, Any], pipe: int) -> None:
    """In the fork: write the answer, and end."""
    status = 1
    try:
        limits = Limits(**request["limits"])
        os.write(pipe, BEGUN)
        _confine(limits)
        store = BlobStore(Path(request["store"]))
        found = examine(store, Blob(digest=request["digest"], size=request["size"]), limits)
        with os.fdopen(pipe, "wb") as file:
            pickle.dump(found, file)
        status = 0
    finally:
        os._exit(status)


def _confine(limits: Limits) -> None:
    """Limit what this process may take from now on."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    memory = pages * _PAGE + limits.examination_memory
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    seconds = limits.examination_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.examination_patience)


if __name__ == "__main__":
    main()
