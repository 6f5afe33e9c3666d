"""What a renderer adapter is: pure functions that know one program. Found through the entry points `distren.renderers`.

An adapter never runs a render itself. It declares its settings, says how the program is called for one frame, what a
line of the program's output means, and which files must be there afterwards; the worker does the rest. A complete one
that is a package of its own is in examples/renderer, and docs/how-to/add-a-renderer.md goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from distren.domain.frameset import FrameSet
from distren.errors import RenderError
from distren.renderers.declaration import Declaration

if TYPE_CHECKING:
    from distren.config import Settings  # what examines jobs starts without


class AttemptFailed(RenderError):
    """One attempt at a frame failed; `permanent` where another attempt would fail alike."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


Allowance = Mapping[str, Sequence[str] | None]


@dataclass(frozen=True, kw_only=True)
class Capability:
    """Whether the program can run on this machine: its `version`, or in `missing` one line on what to install.

    Both are there where a part of what it can do is missing.

    `offers` is what a worker reports in place of the renderer's own name and version, where it can do parts of what
    the renderer is about (see `Divided`). `allows`, by what it offers: the settings with a dot in their names that a
    job may give, with the values to choose from, None where the worker decides about them.
    """

    version: str | None = None
    missing: str | None = None
    offers: Mapping[str, str] = field(default_factory=dict)
    allows: Mapping[str, Allowance] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One frame to render.

    `first` and `last` are the range of the whole animation, which `frame` lies in; `width` and `height` are pixels or
    None; `inputs` is the folder that the seed is laid out in (read only); `output` the only place to write to
    and the program's working directory: empty, but for the folder `needs` with the results of frames that this one
    needs (docs/reference/distrenjob.md). `content` are the elements of the settings that hold more than text, as
    canonical XML: none, unless the adapter brings a schema.
    `slot` is the place among the renders of this worker that this one takes, 0 for the first: at most one render has it
    at a time. `scripts`: the worker's owner lets scenes run programs of their own.
    """

    frame: int
    first: int
    last: int
    width: int | None
    height: int | None
    settings: Mapping[str, str]
    inputs: Path
    output: Path
    slot: int = 0
    scripts: bool = False
    content: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """A file that the program must have produced: name relative to the output folder; an image where `image` is set.

    An image must have `width` x `height` pixels and `channels`, where these are given.
    """

    name: str
    image: bool = False
    width: int | None = None
    height: int | None = None
    channels: int | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How a program goes on with a render that was interrupted.

    `file` is the name, in the working directory, of the file in which it notes what it has done, appending to it;
    `arguments` are added to its own where an earlier attempt has left one.
    """

    file: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """How to run the program: its arguments (the first is the program), what is added to its environment.

    `reads` are folders and files that the program needs to read beside the system's own, the folder that it is in, and
    the task's: in the worker's sandbox it sees no others.
    `outputs` are the files that must be there afterwards; `good_statuses` are the exit codes that mean success.
    `request`: where it is given, the program stays and renders one frame after the other: commands that are alike but
    for their requests and outputs may be rendered by one process. It gets each request as a line of JSON, and answers
    with one (docs/how-to/add-a-renderer.md, Programs that stay).
    `wraps_at`: the program breaks long lines after that many characters, and a line that goes on begins with a blank,
    or follows one that is full; the worker joins them before anybody reads them. `read_line` takes the place of the
    adapter's, where what a line means depends on the frame. `checkpoint`: an attempt that was interrupted is gone on
    with by the next one on the same host.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    outputs: tuple[ExpectedFile, ...] = ()
    good_statuses: frozenset[int] = frozenset({0})
    request: Mapping[str, Any] | None = None
    wraps_at: int | None = None
    read_line: Callable[[str], Progress | Trouble | None] | None = None
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Progress:
    """The frame is `percent` done, 0 to 100."""

    percent: float


@dataclass(frozen=True)
class Trouble:
    """The program says what went wrong; `permanent` where another attempt would fail alike.

    `again`: it fails so now and then for no reason, and is started again at once, within the same attempt.
    """

    text: str
    permanent: bool = False
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a scene file on a user's disk amounts to: everything needed to make a seed of it.

    `root` is the folder that becomes the seed's root, `files` the paths below it that the scene needs, `settings`
    what the renderer must know, `frames` and size what the scene itself says, None where it says nothing. `placed` are
    files that lie elsewhere on this disk, by their paths in the seed; `scratch` is a folder of such files, to be
    removed when the seed has been read. `notes` are lines for the user.
    """

    root: Path
    files: tuple[Path, ...]
    settings: Mapping[str, str]
    frames: FrameSet | None = None
    width: int | None = None
    height: int | None = None
    placed: Mapping[Path, Path] = field(default_factory=dict)
    scratch: Path | None = None
    notes: tuple[str, ...] = ()


class Renderer(Protocol):
    """One program that renders. Instances hold no state of a render.

    An adapter whose settings hold elements with attributes or elements in them has an attribute `schema` as well, the
    path of a RELAX NG schema for its whole <settings> element, with the texts as attributes.
    """

    @property
    def name(self) -> str:
        """The renderer's name in job files, flags and queues: lower-case letters and digits."""

    @property
    def declaration(self) -> Declaration:
        """Its title, the endings of its scenes, and its settings: what checks, lists and documents them."""

    def probe(self, program: str | None) -> Capability:
        """Look for the program (`program`: as the worker's owner configured it) and ask for its version."""

    def accepts(self, path: Path) -> bool:
        """Whether `path` looks like a scene of this renderer (by its name): as a rule, what its declaration says."""

    def read_scene(self, path: Path, settings: Mapping[str, str]) -> Scene:
        """Find out what a scene file needs; `settings` are those that the user gives.

        Raises SceneError for a missing scene or a missing file that it names.
        """

    def check(self, settings: Mapping[str, str]) -> None:
        """Raise JobFileError where a setting is unknown or has a value that can not be used.

        As a rule, what the declaration says; more where settings depend on each other.
        """

    def command(self, task: Task, program: str | None) -> Command:
        """How to render one frame. Raises AttemptFailed where that can not be done, JobFileError as `check` does."""

    def read_line(self, line: str) -> Progress | Trouble | None:
        """What one line of the program's output (without its end) means; None: nothing of interest."""


@runtime_checkable
class Configurable(Protocol):
    """An adapter that needs more of the worker's configuration than where its program is."""

    def configured(self, settings: Settings) -> Renderer:
        """The adapter as this machine's owner has configured it. Raises SettingsError."""


@runtime_checkable
class Divided(Protocol):
    """An adapter of which a worker may be able to do some things and not others."""

    def capability(self, settings: Mapping[str, str]) -> str:
        """The name under which a worker reports (`Capability.offers`) that it can render with these settings."""
