"""How much a tarball, or the manifest of a seed, may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from distren.limits import Limits

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class TarLimits:
    """Caps that are enforced while reading, before the memory or the disk that they guard is used.

    `members` counts files, folders and extended headers alike. `path_bytes` is the length of a whole path in UTF-8;
    a part of it between two '/' may have 255 bytes, as on every common file system. `member_bytes` and `total_bytes`
    are sizes after decompression. `header_bytes` is the size of one extended (PAX) header. `ratio` is how many times
    larger than the file its content may be; the first `ratio_free_bytes` of content are not held to it, since a small
    archive of empty images or of text is often packed more tightly than that.
    """

    members: int = 100_000
    path_bytes: int = 1_024
    member_bytes: int = 32 * GIB
    total_bytes: int = 128 * GIB
    header_bytes: int = 64 * 2**10
    ratio: int = 200
    ratio_free_bytes: int = 64 * MIB

    @classmethod
    def of(cls, limits: Limits) -> TarLimits:
        """Those that a configuration asks for."""
        return cls(
            members=limits.files,
            path_bytes=limits.path_bytes,
            member_bytes=limits.file_bytes,
            total_bytes=limits.total_bytes,
            header_bytes=limits.header_bytes,
            ratio=limits.ratio,
        )


DEFAULT_LIMITS = TarLimits()
