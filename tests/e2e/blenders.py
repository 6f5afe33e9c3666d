"""`blends`: a folder of small .blend files; `Farmhand`: renders them as a worker does, in programs that stay."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import numpy.typing
import OpenImageIO

from distren.domain.job import Blob
from distren.renderers.blender import Blender
from distren.renderers.protocol import Command, Task
from distren.worker import outputs, staying
from distren.worker.cache import InputCache
from distren.worker.limits import Limits
from distren.worker.places import Places
from distren.worker.process import Stop
from distren.worker.sandbox import Sandbox, View
from distren.worker.session import Answered
from distren.worker.staying import Frame

BLENDER = Blender()
SCRIPT = Path(__file__).with_name("make_blends.py")
LIMIT = 170.0


def by_hand(*arguments: str) -> str:
    """Run Blender as a person would; what it says."""
    ran = subprocess.run(
        ("blender", "--factory-startup", "-b", "--python-exit-code", "7", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


class Laid(InputCache):
    """Inputs that lie in a folder already."""

    def __init__(self, folder: Path) -> None:
        self._inputs = folder

    def inputs(self, manifest: Blob) -> _Here:  # type: ignore[override]
        return _Here(self._inputs)


@dataclass
class _Here:
    folder: Path

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Farmhand:
    """Renders the files of `inputs`; `logs` are what the programs said, frame by frame."""

    inputs: Path
    scratch: Path
    sandbox: Sandbox
    scripts: bool = False
    limits: Limits = Limits(time=LIMIT)  # noqa: RUF009  it is frozen
    on_progress: Callable[[float], None] = lambda _: None
    places: Places = field(default_factory=Places)
    logs: list[str] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def command(self, output: Path, blend: str, frame: int, slot: int, settings: Mapping[str, str]) -> Command:
        task = Task(
            frame=frame,
            first=1,
            last=100,
            width=None,
            height=None,
            settings={"blend": blend, **settings},
            inputs=self.inputs,
            output=output,
            slot=slot,
            scripts=self.scripts,
        )
        return BLENDER.command(task, None)

    def try_to_render(
        self, blend: str, frame: int, *, stop: Stop | None = None, **settings: str
    ) -> tuple[Answered, Path]:
        """What became of a frame, and the folder that it is in."""
        folder = self.scratch / f"attempt{next(self._count)}"
        view = View(folder=folder / "output", temporary=folder / "tmp", readable=(self.inputs,))
        view.folder.mkdir(parents=True)
        view.temporary.mkdir()
        with self.places.taken(1) as place:
            command = self.command(view.folder, blend, frame, place.number, settings)
            answered = staying.render(
                Frame(job=1, manifest=Blob(digest="0" * 64, size=1), command=command, view=view, alone=False),
                place,
                cache=Laid(self.inputs),
                sandbox=self.sandbox,
                read_line=BLENDER.read_line,
                on_progress=self.on_progress,
                limits=self.limits,
                stop=stop or Stop(),
            )
        self.logs.append(answered.outcome.log.decode())
        return answered, view.folder

    def render(self, blend: str, frame: int, **settings: str) -> dict[str, Path]:
        """The files of a frame, checked as a worker does."""
        answered, folder = self.try_to_render(blend, frame, **settings)
        assert answered.outcome.trouble is None, self.logs[-1]
        command = Command(argv=("blender",), outputs=answered.files)
        outputs.check(command, folder, answered.outcome)
        return {file.name: folder / file.name for file in answered.files}

    def refuse(self, blend: str, frame: int = 1, **settings: str) -> str:
        """Why a frame can not be rendered by anybody."""
        trouble = self.try_to_render(blend, frame, **settings)[0].outcome.trouble
        assert trouble is not None
        assert trouble.permanent, trouble
        return trouble.text


def pixels(path: Path) -> numpy.typing.NDArray[numpy.float32]:
    assert os.path.getsize(path)  # noqa: PTH202
    return numpy.asarray(OpenImageIO.ImageBuf(str(path)).get_pixels(OpenImageIO.FLOAT))
