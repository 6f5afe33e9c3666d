"""Which blobs the database names: all that jobs have been handed and have produced."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sqlalchemy import Column, Connection, select, tuple_

from distren.storage.tables import attempts, files, frames, guest_frames, guests, jobs, loan_results
from distren.wire.frames import Completed, Render

_PAGE = 20_000
"""rows that one transaction reads: some 0.05 s"""
_SHORT = 16
"""hexadecimal digits of a digest that are kept: two blobs that share them are both kept, which harms nobody"""


class References:
    """Gathers them a page at a time. A name that is written meanwhile is missed: its blob was claimed just before.

    `inputs_of` lists the blobs that a manifest names: those of guests stand in no table.
    """

    def __init__(self, inputs_of: Callable[[str], Iterable[str]]) -> None:
        self._inputs_of = inputs_of
        self._found = array("Q")
        self._connection: Connection
        self._pages = self._gather()

    def page(self, connection: Connection) -> bool:
        """Read the next page; whether that was all."""
        self._connection = connection
        return next(self._pages, None) is None

    def __contains__(self, digest: str) -> bool:
        """Whether the blob is named, when all has been read."""
        number = _number(digest)
        at = bisect_left(self._found, number)
        return at < len(self._found) and self._found[at] == number

    def _gather(self) -> Iterator[bool]:
        for key, column in (
            ([jobs.c.id], jobs.c.manifest),
            ([files.c.job, files.c.id], files.c.digest),
            ([frames.c.job, frames.c.id], frames.c.result),
            ([attempts.c.token], attempts.c.result),
        ):
            for page in self._walk(key, column):
                self._add(digest for digest in page if digest is not None)
                yield True
        for page in self._walk([guest_frames.c.job, guest_frames.c.frame], guest_frames.c.render):
            self._add(digest for body in page for digest in _needed(Render.expect(body)))
            yield True
        for page in self._walk([loan_results.c.token], loan_results.c.body):
            self._add(Completed.expect(body).result.digest for body in page)
            yield True
        manifests = select(jobs.c.manifest).where(jobs.c.id.in_(select(guests.c.job))).distinct()
        for manifest in self._connection.execute(manifests).scalars().all():
            self._add(self._inputs_of(manifest))
            yield True
        self._found = array("Q", sorted(self._found))

    def _walk(self, key: list[Column[Any]], column: Column[Any]) -> Iterator[list[Any]]:
        """The values of a column, a page of rows at a time, in the order of the key."""
        query = select(*key, column).order_by(*key).limit(_PAGE)
        rows = self._connection.execute(query).all()
        while rows:
            yield [row[-1] for row in rows]
            if len(rows) < _PAGE:
                return
            rows = self._connection.execute(query.where(tuple_(*key) > tuple_(*rows[-1][:-1]))).all()

    def _add(self, digests: Iterable[str]) -> None:
        self._found.extend(map(_number, digests))


def _number(digest: str) -> int:
    return int(digest[:_SHORT], 16)


def _needed(render: Render) -> Iterator[str]:
    yield render.manifest.digest
    yield from (digest for _, _, digest, _ in render.needs)
    yield from (digest for _, digest, _ in render.placed)
