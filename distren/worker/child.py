"""A program that runs, with all that it has started: begun, asked to end, killed, and waited for."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from distren.errors import RenderError
from distren.worker import keepers
from distren.worker.keeper import below
from distren.worker.keepers import Keeper, KeeperGone
from distren.worker.sandbox import Sandbox, View

PROCESSES = 1_024
"""processes and threads that a program in a sandbox may have at once"""
_START_WITHIN = 30_000
"""milliseconds that bubblewrap gets to make its namespaces"""
_STATUS, _GATE = 3, 4
"""the numbers under which bubblewrap finds the descriptors that it talks to us with, which the keeper gives it"""
_CHILD = re.compile(rb'"child-pid": (\d+)\D')
_SHELLS_SIGNAL = 128
"""bubblewrap, like a shell, ends with this plus the signal that ended the program"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended: `status` is its exit code, or minus the signal that ended it.

    `memory` is the peak resident size in bytes of the largest of its processes (not less than that of the process that
    starts programs, some 10 MB: the kernel counts from before the exec), `processor` the seconds of processor time of
    all of them.
    """

    status: int
    memory: int = 0
    processor: float = 0.0


class Child:
    """A running program. `pid` is the process that we started, `output` a descriptor of what the program says.

    One thread uses it. `end` has to be called, once, whatever happens.
    """

    def __init__(self, keeper: Keeper, pid: int, output: FileIO, init: int | None, status: FileIO | None) -> None:
        self._keeper, self._init, self._status = keeper, init, status
        self.pid, self._output, self.output = pid, output, output.fileno()
        self.life = os.pidfd_open(pid)
        """a descriptor that is readable once the program has ended"""
        self.keeper = keeper.fileno()
        """a descriptor that is readable once nobody keeps it any more"""
        self._inside = None if init is None else os.pidfd_open(init)

    def members(self) -> list[int]:
        """The processes of the program that run now."""
        return [self.pid, *below(self.pid)] if self._init is None else list(below(self._init))

    @property
    def is_running(self) -> bool:
        """Whether any of its processes has not ended; one that has ended is there until its parent has heard of it."""
        return any(_runs(pid) for pid in self.members())

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
        try:
            ended = self._keeper.end()
        except KeeperGone:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.life, signal.SIGKILL)
            keepers.end_orphans()
            return Ended(status=-signal.SIGKILL)
        finally:
            os.close(self.life)
        code = os.waitstatus_to_exitcode(ended["status"])
        if self._init is not None and _SHELLS_SIGNAL < code < _SHELLS_SIGNAL + signal.NSIG:
            code = _SHELLS_SIGNAL - code
        return Ended(status=code, memory=ended["memory"], processor=ended["processor"])

    def close(self) -> None:
        """Close the descriptors to and from it, after `end`."""
        if self._inside is not None:
            os.close(self._inside)
        for stream in (self._output, self._status):
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
    stdin: int | None = None,
    largest: int | None = None,
) -> Child:
    """Start a program in a session of its own, with its errors in its output; `stdin`: the descriptor that it reads.

    `largest`: bytes that it may write to one file. It ends when the worker does, whatever ends that. Raises RenderError
    where it can not be started.
    """
    surroundings = sandbox.environment(view) | dict(environment or {})
    program = _found(argv[0], surroundings["PATH"], view)
    command = sandbox.command([program, *argv[1:]], view, status=_STATUS, gate=_GATE)
    command[0] = _found(command[0], surroundings["PATH"], view)
    try:
        return _start(command, sandbox, view, surroundings, stdin, largest)
    except (OSError, ValueError) as error:
        raise RenderError(f"the program '{program}' can not be started: {error}") from error


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
    command: Sequence[str],
    sandbox: Sandbox,
    view: View,
    environment: Mapping[str, str],
    stdin: int | None,
    largest: int | None,
) -> Child:
    with contextlib.ExitStack() as kept, contextlib.ExitStack() as lent:
        output, said = _pipe(kept, lent)
        reads = lent.enter_context(FileIO(os.devnull)).fileno() if stdin is None else stdin
        keeper = keepers.take()
        kept.callback(keeper.end)
        if not sandbox.is_closed:
            pid = keeper.start(command, environment, view.folder, (reads, said.fileno()))
            _restrain(pid, sandbox, largest)
            kept.pop_all()
            return Child(keeper, pid, output, None, None)
        status, told = _pipe(kept, lent)
        waits, gate = _pipe(lent, lent)
        pid = keeper.start(command, environment, view.folder, (reads, said.fileno(), told.fileno(), waits.fileno()))
        said.close()
        told.close()
        init = _first_process(status.fileno())
        if init is None:
            raise RenderError(f"the sandbox can not be made: {_last_words(pid, output)}")
        _restrain(init, sandbox, largest)
        running = Child(keeper, pid, output, init, status)
        gate.write(b"\n")
        kept.pop_all()
        return running


def _pipe(reading: contextlib.ExitStack, writing: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """A pipe's ends to read and to write, which these close."""
    there, here = os.pipe()
    return reading.enter_context(FileIO(there, "r")), writing.enter_context(FileIO(here, "w"))


def _first_process(status: int) -> int | None:
    """The number of the first process in the program's namespace, as bubblewrap tells it; None where there is none."""
    told, ready = b"", select.poll()
    ready.register(status, select.POLLIN)
    while ready.poll(_START_WITHIN) and (data := os.read(status, 4096)):
        told += data
        if (found := _CHILD.search(told)) is not None:
            return int(found[1])
    return None


def _last_words(pid: int, output: FileIO) -> str:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    said = output.readall().decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else "bubblewrap ended without a word"


def _restrain(init: int, sandbox: Sandbox, largest: int | None) -> None:
    """What the program inherits from the process that will start it: no core files, first to go without memory."""
    resource.prlimit(init, resource.RLIMIT_CORE, (0, 0))
    if largest is not None:
        resource.prlimit(init, resource.RLIMIT_FSIZE, (largest, largest))
    if sandbox.is_closed:  # there it has a user of its own: elsewhere all processes of the worker's user would count
        resource.prlimit(init, resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
    with contextlib.suppress(OSError):
        Path(f"/proc/{init}/oom_score_adj").write_text("1000", "ascii")


def _runs(pid: int) -> bool:
    try:  # proc(5): behind the name in brackets comes the state
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
