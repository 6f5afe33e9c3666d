"""A program that runs, with all that it has started: begun, asked to end, killed, and waited for."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import resource
import secrets
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from distren.errors import RenderError
from distren.worker import guard
from distren.worker.sandbox import MARK, Mode, Sandbox, View

PROCESSES = 1_024
"""processes and threads that a program in a sandbox may have at once"""
_START_WITHIN = 30_000
"""milliseconds that bubblewrap gets to make its namespaces"""
_END_WITHIN = 10_000
"""milliseconds that the kernel gets to end what has been killed"""
_CHILD = re.compile(rb'"child-pid": (\d+)\D')
_WORKER = secrets.token_hex(16)
"""tells the processes that this one has started from those of others"""
_SHELLS_SIGNAL = 128
"""bubblewrap, like a shell, ends with this plus the signal that ended the program"""

# The kernel tells a child that its parent has died when the thread dies that started it (prctl(2), PR_SET_PDEATHSIG):
# so all are started by this one, which lives as long as the worker.
_STARTER = ThreadPoolExecutor(1, "starts programs", initializer=lambda: _prepare())
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended: `status` is its exit code, or minus the signal that ended it.

    `memory` is the peak resident size in bytes of its largest process (where bubblewrap could not tell, not less than
    our own peak: the kernel counts from before the exec), `processor` the seconds of processor time of all of it.
    """

    status: int
    memory: int
    processor: float


class Child:
    """A running program. `pid` is the process that we started, `output` a descriptor of what the program says.

    One thread uses it. `end` has to be called, once, whatever happens.
    """

    def __init__(
        self, popen: subprocess.Popen[bytes], init: int | None, status: FileIO | None, *, mark: str = ""
    ) -> None:
        assert popen.stdout is not None
        self._mark = mark.encode("ascii")
        self._popen, self._init, self._status = popen, init, status
        self.pid, self.output = popen.pid, popen.stdout.fileno()
        self.life = os.pidfd_open(popen.pid)
        """a descriptor that is readable once the program has ended"""
        self._inside = None if init is None else os.pidfd_open(init)

    def members(self) -> list[int]:
        """The processes of the program that run now."""
        return [self.pid, *_below(self.pid)] if self._init is None else list(_below(self._init))

    def ask_to_end(self) -> None:
        """Send SIGTERM to all of it; a program that bubblewrap has not begun yet never begins."""
        if self._init is None:
            self._signal_group(signal.SIGTERM)
            return
        asked = self.members()
        for pid in asked:
            _signal(pid, signal.SIGTERM)
        if not asked:
            self.kill()

    def freeze(self) -> None:
        """Have all of it stand still, until `thaw`; it can still be killed."""
        frozen: set[int] = set()
        while fresh := set(self.members()) - frozen:
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            frozen |= fresh

    def thaw(self) -> None:
        for pid in self.members():
            _signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to all of it."""
        if self._inside is None:
            self._signal_group(signal.SIGKILL)
        else:
            # The first process of its namespace: the kernel ends all others, and bubblewrap still adds up their use.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._inside, signal.SIGKILL)

    def end(self) -> Ended:
        """Kill whatever is left of it, wait until nothing is, and say how the program had ended."""
        self.kill()
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.life)
        code = self._popen.returncode = os.waitstatus_to_exitcode(status)
        if self._init is not None and _SHELLS_SIGNAL < code < _SHELLS_SIGNAL + signal.NSIG:
            code = _SHELLS_SIGNAL - code
        inside = self._end_of_inside()
        if self._mark:
            self._end_strays()
        return Ended(
            status=code,
            memory=(inside or usage).ru_maxrss * 1024,
            processor=sum(one.ru_utime + one.ru_stime for one in (usage, inside) if one is not None),
        )

    def _end_of_inside(self) -> resource.struct_rusage | None:
        """Wait until the namespace is empty; its usage, None where bubblewrap counts it in its own."""
        if self._init is None or self._inside is None:
            return None
        gone = select.poll()
        gone.register(self._inside, select.POLLIN)
        with contextlib.suppress(ChildProcessError):
            if gone.poll(_END_WITHIN):
                return os.wait4(self._init, 0)[2]
        return None

    def _end_strays(self) -> None:
        """Kill what has left the group: it descends from us by now, and is known by the mark in its environment."""
        while strays := [pid for pid in _below(os.getpid()) if guard.has(pid, self._mark)]:
            for pid in strays:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def close(self) -> None:
        """Close the descriptors to and from it, after `end`."""
        if self._inside is not None:
            os.close(self._inside)
        for stream in (self._popen.stdout, self._status):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _signal_group(self, number: signal.Signals) -> None:
        # the child is not reaped yet, so that its process group can not have become another's
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def start(
    argv: Sequence[str],
    sandbox: Sandbox,
    view: View,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    largest: int | None = None,
) -> Child:
    """Start a program in a session of its own, with its errors in its output; `stdin`: the descriptor that it reads.

    `largest`: bytes that it may write to one file. It ends when the worker does, whatever ends that. Raises RenderError
    where it can not be started.
    """
    surroundings = sandbox.environment(view) | dict(environment or {})
    surroundings[MARK] = f"{_WORKER}.{secrets.token_hex(8)}"
    argv = [_found(argv[0], surroundings["PATH"], view), *argv[1:]]
    try:
        return _STARTER.submit(_start, argv, sandbox, view, surroundings, stdin, largest).result()
    except (OSError, ValueError) as error:
        raise RenderError(f"the program '{argv[0]}' can not be started: {error}") from error


def _found(program: str, path: str, view: View) -> str:
    """The path of the program; raises RenderError."""
    found = shutil.which(program, path=path)
    if found is not None:
        return os.path.abspath(found)  # noqa: PTH100  a link must stay one: a virtual environment is found by it
    if not view.folder.is_dir():
        raise RenderError(f"the folder {view.folder} is gone: the worker can not render in it")
    if Path(program).is_file() and "/" in program:
        raise RenderError(f"the program '{program}' can not be started: the worker's user may not run it")
    raise RenderError(f"the program '{program}' is not on this worker: install it, or say where it is in the settings")


def _start(
    argv: Sequence[str], sandbox: Sandbox, view: View, environment: Mapping[str, str], stdin: int, largest: int | None
) -> Child:
    with contextlib.ExitStack() as stack:
        status, status_there = _pipe(stack)
        gate_there, gate = _pipe(stack)
        given = (status_there.fileno(), gate_there.fileno())
        popen = subprocess.Popen(
            sandbox.command(argv, view, status=given[0], gate=given[1]),
            cwd=view.folder,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if sandbox.mode is Mode.BARE else given,
            start_new_session=True,
            bufsize=0,
        )
        if sandbox.mode is Mode.BARE:
            _restrain(popen.pid, sandbox, largest)
            return Child(popen, None, None, mark=environment[MARK])
        status_there.close()
        init = _first_process(status.fileno())
        if init is None:
            raise RenderError(f"the sandbox can not be made: {_last_words(popen)}")
        _restrain(init, sandbox, largest)
        gate.write(b"\n")
        stack.pop_all()
        gate.close()
        gate_there.close()
        return Child(popen, init, status)


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """A pipe's ends to read and to write, which `stack` closes."""
    there, here = os.pipe()
    return stack.enter_context(FileIO(there, "r")), stack.enter_context(FileIO(here, "w"))


def _first_process(status: int) -> int | None:
    """The number of the first process in the program's namespace, as bubblewrap tells it; None where there is none."""
    told, ready = b"", select.poll()
    ready.register(status, select.POLLIN)
    while ready.poll(_START_WITHIN) and (data := os.read(status, 4096)):
        told += data
        if (found := _CHILD.search(told)) is not None:
            return int(found[1])
    return None


def _last_words(popen: subprocess.Popen[bytes]) -> str:
    popen.kill()
    said = popen.communicate()[0].decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"bubblewrap ended with status {popen.returncode}"


def _restrain(init: int, sandbox: Sandbox, largest: int | None) -> None:
    """What the program inherits from the process that will start it: no core files, first to go without memory."""
    resource.prlimit(init, resource.RLIMIT_CORE, (0, 0))
    if largest is not None:
        resource.prlimit(init, resource.RLIMIT_FSIZE, (largest, largest))
    if sandbox.is_closed:  # there it has a user of its own: elsewhere all processes of the worker's user would count
        resource.prlimit(init, resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    with contextlib.suppress(OSError):
        Path(f"/proc/{init}/oom_score_adj").write_text("1000", "ascii")


def _prepare() -> None:
    """Have what our children leave behind become our children: bubblewrap ends before the processes that it started."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _post_guard()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _post_guard() -> None:
    """Start the process that ends what we leave behind when we are killed; it goes with us.

    The kernel ends bubblewrap with us only once bubblewrap has asked for that, some milliseconds after its start, and
    without bubblewrap only the program itself.
    """
    there, here = os.pipe()
    with FileIO(there) as end:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, f"{MARK}={_WORKER}"],
            cwd="/",
            env={},
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    atexit.register(_dismiss, process, here)


def _dismiss(process: subprocess.Popen[bytes], pipe: int) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        os.write(pipe, b".")
        process.wait(1.0)


def _below(pid: int) -> Iterator[int]:
    """The processes that descend from `pid`."""
    found = [pid]
    while found:
        parent = found.pop()
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for thread in Path(f"/proc/{parent}/task").iterdir():
                children = [int(child) for child in (thread / "children").read_text("ascii").split()]
                yield from children
                found += children
