"""Renders a frame with a program that stays: finds or starts it, and gives it the frame's folder while it renders."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from distren.domain.job import Blob
from distren.renderers.protocol import Command
from distren.worker.cache import InputCache
from distren.worker.limits import Limits
from distren.worker.places import Place
from distren.worker.process import OnProgress, ReadLine
from distren.worker.sandbox import Sandbox, View
from distren.worker.scratch import remove_tree
from distren.worker.session import Answered, Session, lead_nowhere_else


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What is rendered: `command` of a frame of `job`, in `view.folder`, with the inputs of `manifest`.

    `alone`: in a program of its own, since it is to see files that one that runs already does not see.
    """

    job: int
    manifest: Blob
    command: Command
    view: View
    alone: bool


def render(
    frame: Frame,
    place: Place,
    *,
    cache: InputCache,
    sandbox: Sandbox,
    read_line: ReadLine,
    on_progress: OnProgress,
    limits: Limits,
    stop: threading.Event,
) -> Answered:
    """Have the program in `place` render a frame; parameters are those of `process.run`.

    Afterwards `frame.view.folder` holds the files that the frame was to produce, as far as they are there.
    """
    command, folder = frame.command, frame.view.folder
    assert command.request is not None

    def ask(session: Session, output: Path) -> Answered:
        request = {**(command.request or {}), "output": str(output)}
        answered = session.render(request, read_line=read_line, on_progress=on_progress, limits=limits, stop=stop)
        trouble = lead_nowhere_else(output, (*answered.files, *command.outputs))
        return answered if trouble is None else replace(answered, outcome=replace(answered.outcome, trouble=trouble))

    if frame.alone:
        session = Session(command, sandbox, frame.view, largest=limits.output)
        try:
            return ask(session, folder)
        finally:
            session.end()
    home = place.staying(frame.job, command, lambda stack: _start(stack, frame, cache, sandbox, limits.output))
    lent = home.folder / folder.parent.name
    folder.rename(lent)
    answered = ask(home, lent)
    wanted = () if answered.outcome.trouble is not None else (*answered.files, *command.outputs)
    _take_back(lent, folder, [file.name for file in wanted])
    return answered


def _start(stack: ExitStack, frame: Frame, cache: InputCache, sandbox: Sandbox, largest: int | None) -> Session:
    """A program in a folder of its own, which goes with it."""
    own = Path(tempfile.mkdtemp(prefix="stays-", dir=frame.view.folder.parents[1]))
    stack.callback(remove_tree, own)
    inputs = stack.enter_context(cache.inputs(frame.manifest))
    view = View(folder=own / "home", temporary=own / "tmp", readable=(inputs, *frame.command.reads))
    view.folder.mkdir()
    view.temporary.mkdir()
    return Session(frame.command, sandbox, view, largest=largest)


def _take_back(lent: Path, folder: Path, names: Iterable[str]) -> None:
    """Move the files `names` out of `lent` into a new `folder`; what the program put in place of `lent` is not touched.

    The program stands still now, but renders its next frame while the files are looked at, and may have kept a way
    into folders that were its own.
    """
    folder.mkdir()
    if lent.is_symlink() or not lent.is_dir():
        return
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # it is not there, which the check of the outputs says
            (lent / name).rename(target)
    remove_tree(lent)
