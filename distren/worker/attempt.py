"""One attempt at a frame: from its inputs to a frame tarball, or to the reason why there is none."""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distren.domain.job import Blob
from distren.errors import DistrenError, InputError, NoAnswer, RenderError, TransferError
from distren.renderers.protocol import AttemptFailed, Command, Progress, Task, Trouble
from distren.wire.frames import INLINE, Render
from distren.worker import checkpoints, limits, needs, outputs, process, staying
from distren.worker.cache import InputCache
from distren.worker.checkpoints import Checkpoint
from distren.worker.limits import Limits
from distren.worker.places import Place
from distren.worker.process import ReadLine
from distren.worker.sandbox import Sandbox, View
from distren.worker.skills import Skills
from distren.worker.staying import Frame

log = logging.getLogger(__name__)

ASK_AGAIN = 1.0
"""seconds between attempts to fetch inputs from a server that does not answer: it is being restarted"""
TRANSFERS = 10
"""transfers of inputs that may fail before the attempt does; a server that is silent costs 30 s each"""
AT_ONCE = 2
"""times that a program that failed by itself is started again within an attempt"""
_LONGEST_REASON = 1_900


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The frame tarball: its bytes where it travels inside the event, else the file that it is in.

    `log` is compressed, `memory` and `processor` are those of process.Outcome.

    `warnings` say what may be wrong with its files though they are whole.
    """

    tarball: bytes | Path
    blob: Blob
    seconds: float
    log: bytes
    memory: int = 0
    processor: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Why there is no result; `permanent` where another attempt would fail alike."""

    reason: str
    permanent: bool = False
    seconds: float = 0.0
    log: bytes = b""
    memory: int = 0
    processor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The attempt was ended because somebody asked for it."""


Outcome = Rendered | Broken | Stopped


def make(
    render: Render,
    *,
    skills: Skills,
    cache: InputCache,
    sandbox: Sandbox,
    bounds: Limits,
    place: Place,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[float], None],
    on_line: Callable[[str], None],
    on_through: Callable[[], None],
) -> Outcome:
    """Render one frame in `folder`, which holds empty folders `output` and `tmp`. Whatever goes wrong is an outcome.

    `on_line` gets what the program says, but for its progress. `on_through` is called once the program is through with
    the frame, and `place` is not needed any more.
    """
    try:
        return _make(render, skills, cache, sandbox, bounds, place, folder, stop, on_progress, on_line, on_through)
    except DistrenError as error:
        return Broken(reason=_short(str(error)), permanent=_is_permanent(error))
    except OSError as error:
        return Broken(reason=_short(f"the worker's disk: {error}"))
    except Exception as error:  # a defect of ours or of an adapter costs the frame an attempt, not the worker
        log.exception("an attempt ended with an error that nobody expected")
        return Broken(reason=_short(f"the worker made an error: {error!r}"))


def _make(
    render: Render,
    skills: Skills,
    cache: InputCache,
    sandbox: Sandbox,
    bounds: Limits,
    place: Place,
    folder: Path,
    stop: threading.Event,
    on_progress: Callable[[float], None],
    on_line: Callable[[str], None],
    on_through: Callable[[], None],
) -> Outcome:
    adapter = skills.adapters.get(render.renderer)
    if adapter is None:
        raise RenderError(f"this worker has no renderer '{render.renderer}'")
    manifest, output, tries = render.manifest.value(), folder / "output", 0
    while not stop.is_set():
        try:
            needs.lay(render, cache, output)
            with cache.inputs(manifest) as inputs:
                task = Task(
                    frame=render.frame if render.number is None else render.number,
                    first=render.first,
                    last=render.last,
                    width=render.width,
                    height=render.height,
                    settings=render.settings,
                    inputs=inputs,
                    output=output,
                    slot=place.number,
                    scripts=skills.scripts,
                    content=tuple(render.content),
                )
                command = outputs.expected(adapter.command(task, skills.programs.get(render.renderer)), render)
                view = View(
                    folder=output,
                    temporary=folder / "tmp",
                    readable=(inputs, output / needs.FOLDER, *command.reads),
                )
                with _checkpoint(render, skills, cache, command, output) as mark:
                    frame = Frame(
                        job=render.job, manifest=manifest, command=mark.command, view=view, alone=bool(render.needs)
                    )
                    told = mark.keeping(on_progress)
                    read_line = _overheard(mark.command.read_line or adapter.read_line, on_line)
                    allowed = limits.of(render, bounds)
                    ended, command = _run(read_line, frame, place, cache, sandbox, allowed, stop, told)
                    on_through()
                    outcome = Stopped() if ended.stopped else _examined(command, view.folder, ended)
                    if isinstance(outcome, Rendered) or (
                        isinstance(outcome, Broken) and (outcome.permanent or mark.goes_on)
                    ):
                        mark.forget()
                    return outcome
        except (NoAnswer, TransferError) as error:
            tries += isinstance(error, TransferError)
            if tries > TRANSFERS:
                raise
            log.warning("waiting for the inputs of job %d: %s", render.job, error)
            stop.wait(ASK_AGAIN)
    return Stopped()


def _checkpoint(render: Render, skills: Skills, cache: InputCache, command: Command, output: Path) -> Checkpoint:
    if command.checkpoint is None:
        return Checkpoint(cache.checkpoints, "", command, output)
    key = checkpoints.key(render, skills.versions.get(render.renderer, ""))
    return Checkpoint(cache.checkpoints, key, command, output)


def _overheard(read_line: ReadLine, on_line: Callable[[str], None]) -> ReadLine:
    """`read_line`, which lets `on_line` hear all that goes into the log."""

    def read(line: str) -> Progress | Trouble | None:
        meaning = read_line(line)
        if not isinstance(meaning, Progress):
            on_line(line)
        return meaning

    return read


def _run(
    read_line: ReadLine,
    frame: Frame,
    place: Place,
    cache: InputCache,
    sandbox: Sandbox,
    allowed: Limits,
    stop: threading.Event,
    on_progress: Callable[[float], None],
) -> tuple[process.Outcome, Command]:
    """How the frame's program went, and its command with the files that it says it has written."""
    command, view = frame.command, frame.view
    outputs.get_ready(command)
    if command.request is None:
        place.clear()
        for _ in range(1 + AT_ONCE):
            ended = process.run(
                command,
                sandbox=sandbox,
                view=view,
                read_line=read_line,
                on_progress=on_progress,
                limits=allowed,
                stop=stop,
            )
            if ended.stopped or ended.trouble is None or not ended.trouble.again:
                break
            log.info("%s failed by itself and is started again: %s", Path(command.argv[0]).name, ended.trouble.text)
        return ended, command
    answered = staying.render(
        frame,
        place,
        cache=cache,
        sandbox=sandbox,
        read_line=read_line,
        on_progress=on_progress,
        limits=allowed,
        stop=stop,
    )
    return answered.outcome, outputs.with_found(command, answered.files)


def _examined(command: Command, folder: Path, ended: process.Outcome) -> Rendered | Broken:
    """What the program has left in `folder`, checked and packed."""
    text = compressed(ended.log)
    try:
        warnings = outputs.check(command, folder, ended)
        blob, tarball = outputs.pack(command, folder, folder.with_name("frame.tar"))
    except AttemptFailed as error:
        return Broken(
            reason=_short(str(error)),
            permanent=error.permanent,
            seconds=ended.seconds,
            log=text,
            memory=ended.memory,
            processor=ended.processor,
        )
    return Rendered(
        tarball=tarball,
        blob=blob,
        seconds=ended.seconds,
        log=text,
        memory=ended.memory,
        processor=ended.processor,
        warnings=warnings,
    )


def compressed(text: bytes) -> bytes:
    """`text` as zlib writes it, cut at its start where it would not fit into an event."""
    packed = zlib.compress(text, 6) if text else b""
    while len(packed) > INLINE:
        text = text[len(text) // 2 :]
        packed = zlib.compress(text, 6)
    return packed


def _is_permanent(error: DistrenError) -> bool:
    """Whether another attempt would fail alike: what the user gave can not be used, or the adapter says so."""
    return error.permanent if isinstance(error, AttemptFailed) else isinstance(error, InputError)


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _LONGEST_REASON else line[:_LONGEST_REASON] + " ..."
