"""References: `distren://server/job`, `.../frame/id`, `.../file/id`; read leniently, written canonically.

    distren://alpha/            a server
    distren://alpha/17          a job            also read: 17, alpha/17, distren://alpha/job/17
    distren://alpha/17/frame/3  a frame          also read: 17/frame/3, alpha/17/frame/3
    distren://alpha/17/file/2   a file           also read: 17/file/2, alpha/17/file/2

A server name is 1 to 63 letters, digits, `.` and `-`, starts and ends with a letter or a digit, holds at least
one letter (a number alone is always a job), and is compared without case; it is written in lower case.
Ids are decimal, without a sign; leading zeros and a trailing slash are forgiven.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from distren.errors import UrlError

SCHEME = "distren://"
LARGEST_ID = 2**63 - 1
_SERVER = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,30}", re.ASCII)


def server_name(text: str) -> str:
    """`text` as a server name in canonical (lower) case; raises UrlError when it is none."""
    name = text.lower()
    if not _SERVER.fullmatch(name) or not re.search("[a-z]", name):
        raise UrlError(
            f"'{text}' is no server name: use letters, digits, '.' and '-' (at least one letter, at most 63 "
            "characters, a letter or digit at both ends)"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Url:
    """A reference to a server, a job, a frame or a file; `server` is None where the text named none."""

    server: str | None = None
    job: int | None = None
    frame: int | None = None
    file: int | None = None

    def __str__(self) -> str:
        """The canonical form; a reference without a server is written relative (`17/frame/3`)."""
        parts = [] if self.job is None else [str(self.job)]
        parts += [] if self.frame is None else ["frame", str(self.frame)]
        parts += [] if self.file is None else ["file", str(self.file)]
        path = "/".join(parts)
        return path if self.server is None else f"{SCHEME}{self.server}/{path}"

    def at(self, server: str) -> Url:
        """This reference, at `server` where it names none itself."""
        return self if self.server is not None else replace(self, server=server)


def parse(text: str) -> Url:
    """Read a reference in any of its forms; raises UrlError that says what is wrong with it."""
    rest = text.strip()
    if absolute := rest.lower().startswith(SCHEME):
        rest = rest[len(SCHEME) :]
    elif "://" in rest:
        raise UrlError(f"'{text}' is no reference of DistRen: it must start with {SCHEME}")
    parts = rest.rstrip("/").split("/")
    server = None
    if absolute or (parts[0] and not _NUMBER.fullmatch(parts[0])):
        server = server_name(parts.pop(0))
    if server and len(parts) > 1 and parts[0] == "job":
        parts.pop(0)
    if not parts:
        return Url(server=server)
    job = _id(parts.pop(0), text)
    if not parts:
        return Url(server=server, job=job)
    if len(parts) != 2 or parts[0] not in ("frame", "file"):
        raise UrlError(f"'{text}' is no reference: after the job comes nothing, /frame/NUMBER or /file/NUMBER")
    number = _id(parts[1], text)
    if parts[0] == "frame":
        return Url(server=server, job=job, frame=number)
    return Url(server=server, job=job, file=number)


def _id(text: str, whole: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
        raise UrlError(f"'{whole}' is no reference: '{text}' is not a number from 0 to {LARGEST_ID}")
    return int(text)
