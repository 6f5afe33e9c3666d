"""Messages that move blobs. The receiver pulls: it reads ranges, so a transfer resumes at any offset by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from distren.errors import DecodeError
from distren.wire.codec import Message
from distren.wire.fields import Blob, Count, Digest, Name

CHUNK = 2**20
"""bytes; the largest piece of a blob in one message"""
LONGEST_READ = 16 * CHUNK
_LABEL = re.compile(r"([0-9a-f]{64}):([0-9]{1,16})", re.ASCII)


class Offer(Message, type="blob.offer"):
    """Sender → server: I can be read for these blobs. The server pulls those that it lacks, then says so with Stored.

    The sender answers Read messages that arrive on its reply queue until every blob is stored or refused.
    """

    blobs: Annotated[list[Blob], Field(max_length=10_000)]


class Wanted(Message, type="blob.wanted"):
    """Server → sender, at once: which of the offered blobs it lacks, and how many bytes of each it has already."""

    missing: Annotated[list[Blob], Field(max_length=10_000)]
    have: Annotated[list[Count], Field(max_length=10_000)]


class Read(Message, type="blob.read"):
    """Receiver → holder: send bytes `offset` to `offset + length`; answered by one Piece for each CHUNK of it."""

    digest: Digest
    offset: Count
    length: Annotated[int, Field(ge=1, le=LONGEST_READ)]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Holder → receiver: these bytes, at this offset.

    The one message that is no msgpack: its body is the bytes themselves, which saves two copies of each, and its
    correlation id says `<digest>:<offset>`. Its AMQP type is `Piece.type`, which changes with the format.
    """

    type: ClassVar[str] = "blob.piece.1"
    digest: str
    offset: int
    data: bytes

    @property
    def label(self) -> str:
        """The correlation id that the message travels with."""
        return f"{self.digest}:{self.offset}"

    @classmethod
    def read(cls, label: str | None, body: bytes) -> Piece:
        """The piece that arrived as `body` with `label`; raises DecodeError."""
        found = _LABEL.fullmatch(label or "")
        if found is None:
            raise DecodeError("a piece of a blob without its digest and offset")
        if len(body) > CHUNK:
            raise DecodeError(f"a piece of {len(body)} bytes is larger than the limit of {CHUNK}")
        return cls(digest=found[1], offset=int(found[2]), data=body)


class Gone(Message, type="blob.gone"):
    """Holder → receiver: I do not have this blob (any more), or can not read it."""

    digest: Digest
    reason: Name


class Stored(Message, type="blob.stored"):
    """Receiver → sender: the blob is stored and its digest is right."""

    digest: Digest


class Refused(Message, type="blob.refused"):
    """Receiver → sender: the blob is not stored, and why; offering it again may help where `again` says so.

    `full`: nothing is wrong with the blob, the receiver's disk does not take it now.
    """

    digest: Digest
    reason: Name
    again: bool = True
    full: bool = False
