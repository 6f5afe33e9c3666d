"""A small process that starts programs for a worker, one after the other, and ends all that each of them leaves behind.

Run as a program, by keepers.py, and so without any module of ours. Whatever a program starts descends from this process
for as long as it lives: the kernel gives it what has lost its parent (prctl(2), PR_SET_CHILD_SUBREAPER). So when the
worker wants an end, and when the line to it ends as it was killed, everything goes that descends from here, whatever
session, parent or environment it has taken.

Standard input is the line, a stream socket: messages are JSON behind their length, and descriptors come with the first.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct(">I")
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
_MOST_DESCRIPTORS = 4
_OUT_OF_THE_WAY = 10
"""descriptors from this one on are none that a program is given"""
_PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
"""what Python ignores, and a program must not"""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # whoever stops a service means the worker, and with it goes this; to ignore it would be handed on to programs
        signal.signal(number, lambda *_: None)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    line = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY))
    os.close(0)
    pid = 0
    while (asked := _heard(line)) is not None:
        message, descriptors = asked
        if "argv" in message:
            try:
                pid = _start(descriptors=descriptors, **message)
                answer: dict[str, Any] = {"pid": pid}
            except (OSError, ValueError) as error:
                answer = {"error": str(error)}
        else:
            answer = _end(pid)
        with suppress(OSError):  # the worker is gone, which the next look at the line finds
            send(line, answer)
    _end(0)


def _heard(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    try:
        return receive(line)
    except OSError:
        return None


def _start(argv: list[str], environment: dict[str, str], folder: str, descriptors: Sequence[int]) -> int:
    """Start a program in a session of its own; `descriptors` become its input, output and 3, 4, ..."""
    given = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for one in descriptors]
    for one in descriptors:
        os.close(one)
    stdin, output, *more = given
    wanted = [(stdin, 0), (output, 1), (output, 2), *((one, number) for number, one in enumerate(more, 3))]
    try:
        os.chdir(folder)
        return os.posix_spawn(
            argv[0],
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, one, number) for one, number in wanted],
            setsid=True,
            setsigdef=_PYTHONS,
        )
    finally:
        os.chdir("/")
        for one in given:
            os.close(one)


def _end(program: int) -> dict[str, Any]:
    """Kill all that is left, wait until nothing is, and say how `program` has ended and what all of them used."""
    status, memory, processor = 0, 0, 0.0
    with suppress(ChildProcessError):
        while True:
            pid, how, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                for one in below(os.getpid()):
                    with suppress(OSError):
                        os.kill(one, signal.SIGKILL)
                pid, how, usage = os.wait4(-1, 0)
            status = how if pid == program else status
            memory, processor = max(memory, usage.ru_maxrss * 1024), processor + usage.ru_utime + usage.ru_stime
    return {"status": status, "memory": memory, "processor": processor}


def below(pid: int) -> Iterator[int]:
    """The processes that descend from `pid`."""
    found = [pid]
    while found:
        below_it = children(found.pop())
        yield from below_it
        found += below_it


def children(pid: int) -> list[int]:
    """The processes of which `pid` is the parent; none where it has ended."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  pathlib takes long to import
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123
                found += [int(child) for child in file.read().split()]
    return found


# -- the line, on both sides -------------------------------------------------------------------------------------------


def send(line: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message; raises OSError where nobody is there."""
    data = json.dumps(message).encode("ascii")
    whole = _LENGTH.pack(len(data)) + data
    sent = socket.send_fds(line, [whole], descriptors) if descriptors else 0
    line.sendall(whole[sent:])


def receive(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message with its descriptors; None where the line has ended."""
    data, descriptors, _, _ = socket.recv_fds(line, 2**16, _MOST_DESCRIPTORS)
    while data and (len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]):
        more = line.recv(2**16)
        if not more:
            return None
        data += more
    return (json.loads(data[_LENGTH.size :]), descriptors) if data else None


if __name__ == "__main__":
    main()
