"""The folder of a private broker: what lies where, and the lock that tells whether the broker runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from distren.broker import credentials, ports
from distren.broker.credentials import Credentials, Kind, Ports
from distren.errors import Conflict, OutputError, SettingsError

_LOCK_TRIES, _LOCK_WAIT = 10, 0.02  # a look at the lock, by `locked`, holds it for microseconds

_LOCK_DESCRIPTOR = 64  # and above


class Folder:
    """Paths in a broker's folder, and the steps that a node and a container have in common."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lock = self.path / "lock"
        self.pid = self.path / "pid"
        self.made = self.path / "made"
        """exists once the broker was ready for the first time; without it, data are the rest of a failed start"""
        self.home = self.path / "home"
        self.conf = self.path / "conf.d"
        self.data = self.path / "data"
        self.log = self.path / "log"
        self.output = self.log / "output.log"
        self._claims = ExitStack()
        """of its ports, as long as this object lives: a broker that is started again finds them free"""

    def take_lock(self) -> int:
        """A descriptor that holds the lock; the lock lasts while any process has it open.

        Raises Conflict when another process holds it, OutputError when the folder can not be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OutputError(f"the broker's folder {self.path} can not be written: {error.strerror}") from error
        for _ in range(_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_WAIT)
            else:
                # A high number: shell scripts that inherit it use the low ones for their own ends.
                inherited = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOCK_DESCRIPTOR)
                os.close(descriptor)
                return inherited
        os.close(descriptor)
        raise Conflict(f"the private broker in {self.path} is already running, or is being started")

    def locked(self) -> bool:
        """Whether a process holds the lock: the broker runs, or is being started."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def read_pid(self) -> int | None:
        """The process that leads the broker's session, as written at its start."""
        try:
            return int(self.pid.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def prepare(self, kind: Kind, *, published: tuple[str, ...] = tuple(Ports.__dataclass_fields__)) -> Credentials:
        """Make the folder complete and give its credentials, new ones at the first start.

        From now on no other broker of ours picks the `published` ports, as long as this object lives.
        Raises Conflict when one of the `published` ports is taken, SettingsError when the folder belongs to a broker
        of another kind, OutputError.
        """
        known = credentials.read(self.path)
        if known is None:
            known = credentials.generate(kind, ports.pick(self._claims))
            credentials.write(self.path, known)
        elif known.kind != kind:
            raise SettingsError(f"the private broker in {self.path} runs as a {known.kind}, not as a {kind}")
        else:
            ports.claim(known.ports, self._claims, only=published)
        try:
            self.pid.unlink(missing_ok=True)
            if not self.made.exists():
                shutil.rmtree(self.data, ignore_errors=True)
            for each in (self.home, self.conf, self.data, self.log):
                each.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the broker's folder {self.path} can not be written: {error.strerror}") from error
        return known

    def erase(self) -> None:
        """Delete the folder with all data; the broker must have ended."""
        self._claims.close()
        shutil.rmtree(self.path, ignore_errors=True)
