"""Messages that move blobs. The receiver pulls: it reads ranges, so a transfer resumes at any offset by itself."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distren.wire.codec import Message
from distren.wire.fields import Blob, Count, Digest, Name

CHUNK = 2**20
"""bytes; the largest piece of a blob in one message"""


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
    length: Annotated[int, Field(ge=1, le=16 * 2**20)]


class Piece(Message, type="blob.piece"):
    """Holder → receiver: these bytes, at this offset."""

    digest: Digest
    offset: Count
    data: Annotated[bytes, Field(max_length=CHUNK)]


class Gone(Message, type="blob.gone"):
    """Holder → receiver: I do not have this blob (any more), or can not read it."""

    digest: Digest
    reason: Name


class Stored(Message, type="blob.stored"):
    """Receiver → sender: the blob is stored and its digest is right."""

    digest: Digest


class Refused(Message, type="blob.refused"):
    """Receiver → sender: the blob is not stored, and why; offering it again may help where `again` says so."""

    digest: Digest
    reason: Name
    again: bool = True
