"""What programs note of renders that are under way, so that an interrupted one is gone on with on the same host.

<cache>/checkpoints/<key>  a hard link to the file in the attempt's folder: the program appends to it, and it stays
    when the worker is killed and its attempts are removed; its name is made of all that decides how the frame looks
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from distren.renderers.protocol import Command
from distren.wire.frames import Render

KEEP_AFTER = 2.0
"""seconds of rendering after which it is worth while: most frames are done by then"""
KEPT = timedelta(days=3)
"""how long the state of a frame stays that nobody goes on with here"""


def key(render: Render, version: str) -> str:
    """The name of a frame's state; another one for other inputs, settings, sizes and versions of the program."""
    about = render.model_dump(include={"renderer", "settings", "width", "height", "number", "first", "last"})
    about |= {"manifest": render.manifest.digest, "version": version, "needs": [list(one) for one in render.needs]}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return f"{render.job}-{render.frame}-{digest[:20]}"


class Checkpoint:
    """The state of one attempt's render; a command without one has none, and nothing happens.

    To be used in a `with`: as long as that is open no other attempt on this host goes on with the same state, as one
    does whose worker was cut off from the broker and renders still.
    """

    def __init__(self, folder: Path, key: str, command: Command, output: Path) -> None:
        self._command, self._kept, self._output = command, folder / key, output
        self._began, self._linked = time.monotonic(), command.checkpoint is None
        self._lock: int | None = None
        self.goes_on = command.checkpoint is not None and self._take_over()
        """whether an earlier attempt has left one, which lies where the program looks for it now"""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._release()

    @property
    def command(self) -> Command:
        """The command, which goes on where there is something to go on with."""
        told = self._command.checkpoint
        if told is None or not self.goes_on:
            return self._command
        return replace(self._command, argv=(*self._command.argv, *told.arguments))

    def keeping(self, on_progress: Callable[[float], None]) -> Callable[[float], None]:
        """`on_progress`, which sees to it as well that the state outlives this worker."""

        def told(percent: float) -> None:
            if not self._linked and time.monotonic() - self._began >= KEEP_AFTER:
                self._linked = True
                if self._hold():
                    self._link(self._working, self._kept)
            on_progress(percent)

        return told

    def forget(self) -> None:
        """The frame is done, or its state led nowhere: the next attempt begins anew."""
        if self._command.checkpoint is not None:
            self._kept.unlink(missing_ok=True)

    @property
    def _working(self) -> Path:
        assert self._command.checkpoint is not None
        return self._output / self._command.checkpoint.file

    def _take_over(self) -> bool:
        if not self._link(self._kept, self._working):
            return False
        if not self._hold():
            self._working.unlink(missing_ok=True)
            return False
        self._linked = True
        return True

    def _hold(self) -> bool:
        """Lock the program's file; False where another attempt has it, or it is not there."""
        with suppress(OSError):
            self._lock = os.open(self._working, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        self._release()
        return False

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _link(self, source: Path, target: Path) -> bool:
        """False where the source is not there, or the disk has no links: then the frame begins anew."""
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(source)
            return True
        return False


def clean(folder: Path) -> None:
    """Remove states that nobody has gone on with for long."""
    oldest = time.time() - KEPT.total_seconds()
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
