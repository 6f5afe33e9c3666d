"""What a renderer's program sees of this machine: bubblewrap shows it no more than it needs.

In the sandbox a program has no network, sees the system's programs and libraries, the folders that its View names and
nothing else, may write to one folder and to /tmp, and is no root; docs/explanation/sandbox.md has the whole list.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from distren.errors import OutputError, SettingsError
from distren.worker import keepers

Wanted = Literal["auto", "on", "off"]
TEMPORARY = Path("/tmp")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
"""where programs are looked for when the worker has no PATH"""
_NOBODY = "65534"
"""the number that the worker's own user has in the sandbox"""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = (
    "ld.so.cache", "alternatives", "fonts", "localtime", "povray", "ImageMagick-6", "glvnd", "vulkan", "OpenCL",
)  # fmt: skip
"""in /etc: what programs need of it, and nothing about this machine's users and network; each costs 0.15 ms a start"""
_PROBE_WITHIN = 30.0
"""seconds"""


class Mode(StrEnum):
    SANDBOX = "sandbox"  #: bubblewrap: sees what a View says
    BARE = "bare"  #: no bubblewrap: sees the whole machine


@dataclass(frozen=True, kw_only=True)
class View:
    """What one program is given: paths are the same inside and outside of the sandbox, but for /tmp.

    `folder`: it may write there, it starts there, and it is its HOME. `temporary`: what it sees as /tmp and /dev/shm.
    `readable`: folders and files that it may read, also such in `folder` that it may not write; those that are
    missing are left out. All are absolute.
    """

    folder: Path
    temporary: Path
    readable: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """How the programs of this worker are started.

    `shared`: what the worker's owner lets every program read (devices: use), beside the system. `why`: in one line,
    why programs are not in a sandbox, "" where they are.
    """

    mode: Mode
    shared: tuple[Path, ...] = ()
    why: str = ""

    @property
    def is_closed(self) -> bool:
        """Whether programs are in a sandbox."""
        return self.mode is Mode.SANDBOX

    def command(self, argv: Sequence[str], view: View, *, status: int, gate: int) -> list[str]:
        """The arguments that start `argv`, whose first part is the path of a program.

        bubblewrap tells the descriptor `status` about the process, and waits until `gate` gives something to read.
        """
        if self.mode is Mode.BARE:
            return list(argv)
        told = ("--json-status-fd", str(status), "--block-fd", str(gate))
        return ["bwrap", "--die-with-parent", *told, *self._closed(Path(argv[0]), view), "--", *argv]

    def environment(self, view: View) -> dict[str, str]:
        """All that a program has in its environment, but for what its adapter adds."""
        temporary = TEMPORARY if self.is_closed else view.temporary
        return {
            "PATH": os.environ.get("PATH", PATH),
            "HOME": str(view.folder),
            "LANG": "C.UTF-8",
            "TMPDIR": str(temporary),
        }

    def _closed(self, program: Path, view: View) -> Iterator[str]:
        yield from ("--unshare-pid", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY)
        yield from ("--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        yield from _system()
        yield from ("--proc", "/proc", "--dev", "/dev", "--bind", str(view.temporary), "/dev/shm")
        yield from ("--remount-ro", "/dev", "--bind", str(view.temporary), str(TEMPORARY))
        yield from _bound(dict.fromkeys(_program(program), "--ro-bind") | dict(self._mounts(view)))
        yield from ("--remount-ro", "/", "--chdir", str(view.folder))

    def _mounts(self, view: View) -> Iterator[tuple[Path, str]]:
        for path in self.shared:
            yield path, "--dev-bind" if path.is_relative_to("/dev") else "--ro-bind"
        yield from ((path, "--ro-bind") for path in view.readable)
        yield view.folder, "--bind"


def find(wanted: Wanted, *, shared: Sequence[Path], folder: Path) -> Sandbox:
    """What programs can be started in on this machine, tried out in `folder`, which is made and left there, empty.

    Workers that share it may try at once.

    Raises SettingsError where a sandbox is `wanted` ("on") and can not be had, OutputError where `folder` can not be
    written to.
    """
    for path in shared:
        if not path.is_absolute() or not path.exists():
            raise SettingsError(f"sandbox_shared names {path}, which is no absolute path of something that exists")
    if wanted == "off":
        return Sandbox(mode=Mode.BARE, shared=tuple(shared), why="it is switched off")
    sandbox = Sandbox(mode=Mode.SANDBOX, shared=tuple(shared))
    trouble = _try(sandbox, folder)
    if trouble is None:
        return sandbox
    if wanted == "on":
        raise SettingsError(f"renders can not run in a sandbox, which the setting 'sandbox' asks for: {trouble}")
    return Sandbox(mode=Mode.BARE, why=trouble)


def _try(sandbox: Sandbox, folder: Path) -> str | None:
    """Run a program that does nothing; None where that works, else one line on what is in the way."""
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        return "bubblewrap is not installed (on Debian: apt install bubblewrap)"
    true = shutil.which("true", path=PATH)
    if true is None:
        return "the program 'true' is missing"
    view = View(folder=folder / "output", temporary=folder / "tmp")
    try:
        view.folder.mkdir(parents=True, exist_ok=True)
        view.temporary.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} can not be written to: {error.strerror}") from error
    try:
        return _ran(sandbox, bubblewrap, true, view)
    except OSError as error:
        return f"no program can be started: {error}"


def _ran(sandbox: Sandbox, bubblewrap: str, true: str, view: View) -> str | None:
    # Started by a keeper, which reaps what bubblewrap leaves behind. The null device is at its end at once: the gate is
    # open, and nobody reads the status.
    with Path(os.devnull).open("r+b") as nothing, os.fdopen(os.memfd_create("bubblewrap"), "w+b") as output:
        keeper = keepers.take()
        command = [str(Path(bubblewrap).absolute()), *sandbox.command([true], view, status=3, gate=3)[1:]]
        descriptors = (nothing.fileno(), output.fileno(), nothing.fileno())
        life = os.pidfd_open(keeper.start(command, sandbox.environment(view), view.folder, descriptors))
        try:
            in_time, _, _ = select.select([life], [], [], _PROBE_WITHIN)
        finally:
            os.close(life)
            ended = os.waitstatus_to_exitcode(keeper.end()["status"])
        output.seek(0)
        said = output.read().decode("utf-8", "replace").strip().splitlines()
    if not in_time:
        return f"bubblewrap did not start a program within {_PROBE_WITHIN:.0f} s"
    return None if ended == 0 else said[-1] if said else f"bubblewrap ended with status {ended}"


@cache
def _system() -> tuple[str, ...]:
    """The system's programs, libraries, and the few settings that they need."""
    given: list[str] = []
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            given += ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            given += ("--ro-bind", name, name)
    for name in _SETTINGS:
        given += ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    return tuple(given)


def _program(program: Path) -> Iterator[Path]:
    """The folder of a program that is not the system's, and the one that it is a link to; in a HOME only the file.

    Our own Python sees its libraries and DistRen: some renderers are modules of ours.
    """
    for path in dict.fromkeys((program, program.resolve())):
        yield path if path.parent in (Path.home(), Path("/")) else path.parent
    if program == Path(sys.executable):
        yield from (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1])


def _bound(mounts: dict[Path, str]) -> Iterator[str]:
    """The mounts, an outer folder before those inside of it."""
    for path in sorted(mounts, key=lambda one: one.parts):
        is_ours = mounts[path] == "--ro-bind" and "/".join(path.parts[:2])[1:] in _SYSTEM
        if not is_ours:
            yield from (f"{mounts[path]}-try", str(path), str(path))
