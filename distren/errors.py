"""Every error that DistRen raises on purpose, and the exit code that each gives a command.

    DistrenError                 1   anything else that DistRen raises on purpose
    ├── InputError               3   what the user gave can not be used
    │   ├── UrlError                 a reference that is no distren:// URL and no job number
    │   ├── FrameRangeError          a frame range that can not be read, or holds nothing
    │   ├── SceneError               a scene that is missing, or lacks a file that it names
    │   ├── JobFileError             a distrenjob.xml that breaks its schema
    │   ├── TarballError             a tarball that is damaged, unsafe or over a limit
    │   └── SettingsError            a flag, an environment variable or a configuration file
    ├── NotFound                 4   no such job, frame, file or server
    │   └── JobMoved                 the job was handed over to another server, which is named
    ├── BrokerUnavailable        5   no broker answers at the address
    ├── AccessRefused            6   the broker refuses the user or the password
    ├── JobFailed                7   the job ended, but not with every frame done
    ├── Conflict                 8   the name is taken, or the thing is already running
    ├── OutputError              9   a file or folder can not be written
    │   └── DatabaseDamaged          a database that can not be read any more
    ├── RendererUnavailable      10  no worker, or not this machine, can run the renderer
    ├── NoAnswer                 11  the server did not answer in time
    ├── SchemaError              12  the database has a schema that this version does not know
    ├── TransferError            13  bytes arrived damaged, or did not arrive
    ├── DecodeError              14  a message that can not be understood
    └── RenderError              15  one attempt at a frame failed

The message of each is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations


class DistrenError(Exception):
    """The root of the tree; its message is one line, fit to be shown to a user."""

    exit_code = 1


class InputError(DistrenError):
    exit_code = 3


class UrlError(InputError):
    pass


class FrameRangeError(InputError):
    pass


class SceneError(InputError):
    pass


class JobFileError(InputError):
    pass


class TarballError(InputError):
    pass


class SettingsError(InputError):
    pass


class NotFound(DistrenError):
    exit_code = 4


class JobMoved(NotFound):
    """`url` is what the job is called now; `server` and `job` are its parts."""

    def __init__(self, text: str = "", *, server: str = "", job: int = 0) -> None:
        super().__init__(text or f"the job is distren://{server}/{job} now")
        self.server, self.job = server, job


class BrokerUnavailable(DistrenError):
    exit_code = 5


class AccessRefused(DistrenError):
    exit_code = 6


class JobFailed(DistrenError):
    exit_code = 7


class Conflict(DistrenError):
    exit_code = 8


class OutputError(DistrenError):
    exit_code = 9


class DatabaseDamaged(OutputError):
    pass


class RendererUnavailable(DistrenError):
    exit_code = 10


class NoAnswer(DistrenError):
    exit_code = 11


class SchemaError(DistrenError):
    exit_code = 12


class TransferError(DistrenError):
    exit_code = 13


class DecodeError(DistrenError):
    exit_code = 14


class RenderError(DistrenError):
    exit_code = 15


def _leaves(kind: type[DistrenError]) -> list[type[DistrenError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _leaves(child))]


def by_name(name: str) -> type[DistrenError]:
    """The error class called `name`; an error travels in a message by its class's name."""
    return {kind.__name__: kind for kind in _leaves(DistrenError)}.get(name, DistrenError)
