"""A program that stays: started once, asked for one frame after the other, and watched at each like any other."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distren.renderers.protocol import Command, ExpectedFile, Trouble
from distren.tarballs.paths import PathError, PathSet
from distren.worker import child, usage
from distren.worker.limits import Gauge, Limits
from distren.worker.process import CENSUS, OnProgress, Outcome, ReadLine, Watch
from distren.worker.sandbox import Sandbox, View

LONGEST_ANSWER = 2**22
"""bytes"""
_END_WITHIN = 2.0
"""seconds that a program gets to end after it has closed its end of the line"""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a frame went, and the files that the program says it has written."""

    outcome: Outcome
    files: tuple[ExpectedFile, ...] = ()


class Session:
    """A running program that renders frame after frame of what `command` loads. One thread at a time uses it.

    Between two frames it stands still, so that it takes nothing while nobody measures what it takes.

    `largest`: bytes that it may write to one file. `end` has to be called, once. Raises RenderError where the program
    can not be started.
    """

    def __init__(self, command: Command, sandbox: Sandbox, view: View, *, largest: int | None = None) -> None:
        self._command, self._view, self.folder = command, view, view.folder
        self._channel, there = socket.socketpair()
        self._channel.setblocking(False)
        try:
            with there:
                self._child = child.start(
                    command.argv,
                    sandbox,
                    view,
                    environment=command.environment,
                    stdin=there.fileno(),
                    largest=largest,
                )
        except BaseException:
            self._channel.close()
            raise
        self._rest = b""
        self._is_running = True
        self.is_over = False
        """whether it renders no more: it has ended, or failed at a frame"""

    def fits(self, command: Command) -> bool:
        """Whether it can render what `command` wants."""
        mine, theirs = self._command, command
        alike = (mine.argv, mine.environment) == (theirs.argv, theirs.environment)
        return alike and not self.is_over and self._child.is_running

    def render(
        self,
        request: dict[str, Any],
        *,
        read_line: ReadLine,
        on_progress: OnProgress,
        limits: Limits,
        stop: threading.Event,
    ) -> Answered:
        """Have one frame rendered. Parameters are those of `process.run`; whatever the program does wrong is said.

        A frame that goes wrong in any way ends the session.
        """
        began = time.monotonic()
        self.is_over = True
        self._child.thaw()
        gauge = Gauge(limits, self._view, self._child.members)
        watch = Watch(self._child, self._command, read_line, on_progress, limits, gauge)
        members = self._child.members()
        usage.forget_peaks(members)
        before = usage.measure(members)
        with CENSUS.counted():
            line = self._ask(request, watch, stop)
        if line is None:
            return Answered(outcome=self._ended(watch, began))
        self._child.freeze()
        after = usage.measure(self._child.members())
        watch.read_rest()
        outcome = CENSUS.note(
            Outcome(
                status=0,
                trouble=None,
                seconds=time.monotonic() - began,
                log=watch.transcript.text(),
                memory=max(gauge.memory, after.memory),
                processor=max(after.processor - before.processor, 0.0),
            )
        )
        answer = _read(line)
        if isinstance(answer, Trouble):
            return Answered(outcome=replace(outcome, trouble=answer))
        self.is_over = False
        return Answered(outcome=outcome, files=answer)

    def end(self) -> None:
        """End the program, with all that it has started."""
        self.is_over = True
        self._channel.close()
        if self._is_running:
            self._is_running = False
            self._child.end()
            self._child.close()

    def _ask(self, request: dict[str, Any], watch: Watch, stop: threading.Event) -> bytes | None:
        """The line that the program answers with, None where it ended without one."""
        with contextlib.suppress(OSError):  # it has ended, or reads nothing, which `follow` finds out
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        while watch.follow(stop, until=self._channel.fileno()):
            try:
                data = self._channel.recv(2**16)
            except OSError:
                data = b""
            self._rest += data
            line, found, rest = self._rest.partition(b"\n")
            if found:
                self._rest = rest
                return line
            if not data or len(self._rest) > LONGEST_ANSWER:
                return self._silent(closed=not data)
        return None

    def _silent(self, *, closed: bool) -> bytes | None:
        """What to make of a program that can not answer any more: None where it has ended, as most of them have."""
        if select.select([self._child.life], [], [], _END_WITHIN)[0]:
            return None
        what = "has closed its end of the line" if closed else "has answered more than it may"
        return json.dumps({"trouble": f"{Path(self._command.argv[0]).name} {what}"}).encode()

    def _ended(self, watch: Watch, began: float) -> Outcome:
        self._is_running = False
        ended = self._child.end()
        watch.read_rest()
        self._child.close()
        trouble = watch.verdict(ended.status)
        if trouble is None:
            trouble = Trouble(f"{Path(self._command.argv[0]).name} ended in the middle of a frame")
        outcome = Outcome(
            status=ended.status if ended.status >= 0 else None,
            trouble=trouble,
            seconds=time.monotonic() - began,
            log=watch.transcript.text(),
            stopped=watch.stopped,
            over=watch.over is not None,
            memory=max(watch.gauge.memory, ended.memory),
            processor=ended.processor,
        )
        return CENSUS.note(outcome)


def _read(line: bytes) -> tuple[ExpectedFile, ...] | Trouble:
    """What an answer says; nothing in it is believed that is not checked."""
    try:
        answer = json.loads(line)
        if "trouble" in answer:
            return Trouble(str(answer["trouble"]), permanent=answer.get("permanent") is True)
        paths, files = PathSet(), []
        for file in answer["files"]:
            paths.add_file(file["name"])
            files.append(
                ExpectedFile(
                    name=file["name"],
                    image=file.get("image") is True,
                    width=_number(file.get("width")),
                    height=_number(file.get("height")),
                    channels=_number(file.get("channels")),
                )
            )
        return tuple(files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PathError) as error:
        return Trouble(f"the program's answer can not be understood: {error}")


def _number(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value or None


def lead_nowhere_else(output: Path, files: tuple[ExpectedFile, ...]) -> Trouble | None:
    """Trouble where a file in the folder `output` would be reached through a link: what it leads to is not ours."""
    for file in files:
        folder = (output / file.name).parent
        if Path(os.path.realpath(folder)) != Path(os.path.realpath(output)) / folder.relative_to(output):
            return Trouble(f"{file.name} lies in a folder that is a link", permanent=True)
    return None
