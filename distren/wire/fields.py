"""The types of the fields that several messages share, with their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from distren.domain import job

Id = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=0, le=2**53)]
_NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores no text that holds one
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_NO_NUL)]
ShortText = Annotated[str, Field(max_length=2_000, pattern=_NO_NUL)]
Text = Annotated[str, Field(max_length=100_000, pattern=_NO_NUL)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
FrameOfJob = Annotated[tuple[Id, Id], Field(strict=False)]
"""job id and frame id; msgpack has no tuples, so a list is taken too"""
Range = Annotated[tuple[Id, Id, Annotated[int, Field(ge=1)]], Field(strict=False)]
"""first id, last id and step"""
NeededResult = Annotated[tuple[Id, Id, Digest, Count], Field(strict=False)]
"""job id, frame id, and digest and size of the frame tarball; a list, so that 50,000 of them fit into a message"""
PlacedResult = Annotated[tuple[ShortText, Digest, Count], Field(strict=False)]
"""folder, and digest and size of the frame tarball"""
Content = Annotated[str, Field(max_length=2**23, pattern=_NO_NUL)]
"""an element of a renderer's settings, as canonical XML; a job file is no larger"""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Blob(BaseModel):
    """Stored bytes: SHA-256 in lower-case hexadecimal, size in bytes."""

    model_config = ConfigDict(frozen=True, strict=True)
    digest: Digest
    size: Count

    @classmethod
    def of(cls, blob: job.Blob) -> Blob:
        return cls(digest=blob.digest, size=blob.size)

    def value(self) -> job.Blob:
        return job.Blob(digest=self.digest, size=self.size)
