"""`distren` in forks of a process that has imported it already, so that a command costs what it does, and no imports.

Each is a process of its own with its own arguments, environment, folder, output and exit code. How a command starts is
for tests/unit/test_cli_start.py, test_cli_up.py, test_tutorial.py, test_remote_jobs.py and test_wheel.py to show.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_IMPORTED = (
    "distren.client.farm",
    "distren.storage.schema",
    *(f"distren.cli.{name}" for name in ("database", "delivery", "files", "jobs", "main", "show", "submit")),
)
_LONGEST = 2**17
"""bytes of a request: arguments and environment"""


class Forks:
    """The process that is ready, and ends with the one that made this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DISTREN_")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=clean,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is for pytest, whose end ends the socket
            )

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path | None, timeout: float
    ) -> tuple[int, str, str]:
        """Run `distren` with `arguments`: exit code (minus the signal that ended it), stdout and stderr.

        Raises subprocess.TimeoutExpired after `timeout` seconds, when the command has been killed.
        """
        request = json.dumps([list(arguments), dict(environment), str(cwd or Path.cwd())]).encode()
        with self._lock, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._socket, [request], [out.fileno(), err.fileno()])
            self._socket.settimeout(timeout)
            pid = self._number()
            try:
                status = self._number()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._number()
                raise subprocess.TimeoutExpired(["distren", *arguments], timeout, _text(out), _text(err)) from None
            return os.waitstatus_to_exitcode(status), _text(out).decode(), _text(err).decode()

    def _number(self) -> int:
        answer = self._socket.recv(64)
        assert answer, "the process that forks has ended"
        return int(answer)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def _text(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


@functools.cache
def forks() -> Forks:
    """The one of this process, started when it is first wanted."""
    made = Forks()
    atexit.register(made.close)
    return made


def _serve(requests: socket.socket) -> None:
    """Fork for each request; returns in the fork, which is that command. Ends the process when nobody is there."""
    while True:
        request, files, _, _ = socket.recv_fds(requests, _LONGEST, 2)
        if not request:
            sys.exit()
        pid = os.fork()
        if not pid:
            break
        for each in files:
            os.close(each)
        requests.send(b"%d" % pid)
        requests.send(b"%d" % os.waitpid(pid, 0)[1])
    requests.close()
    arguments, environment, folder = json.loads(request)
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["distren", *arguments]


if __name__ == "__main__":
    for module in _IMPORTED:
        importlib.import_module(module)
    from distren.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    main()
