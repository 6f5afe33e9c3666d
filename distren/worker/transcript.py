"""What a program says: split into lines as it comes, and kept in bounds however much it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

KEPT = 256 * 1024
"""bytes; that much is kept of the beginning of a program's output, and as much of its end"""
LONGEST = 16 * 1024
"""bytes; a longer line is cut into several"""


class Lines:
    """Splits output at line feeds and carriage returns; joins the lines that the program broke at `wraps_at`.

    Where lines may be broken, one is only given out when the next has come.
    """

    def __init__(self, wraps_at: int | None = None) -> None:
        self._wraps_at = wraps_at
        self._rest = b""
        self._held: str | None = None
        self._full = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that are complete with `data`."""
        pieces = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            yield from self._joined(piece)
        while len(self._rest) > LONGEST:
            piece, self._rest = self._rest[:LONGEST], self._rest[LONGEST:]
            yield from self._joined(piece)

    def end(self) -> Iterator[str]:
        """What is left when nothing more comes."""
        if self._rest:
            yield from self._joined(self._rest)
            self._rest = b""
        if self._held:
            yield self._held
        self._held = None

    def _joined(self, piece: bytes) -> Iterator[str]:
        line = piece.decode("utf-8", "replace")
        if self._wraps_at is None:
            if line:
                yield line
            return
        goes_on = self._held is not None and (self._full or line.startswith(" ")) and len(self._held) < LONGEST
        if goes_on and self._held is not None:
            self._held += line if self._full else line.rstrip()
        else:
            if self._held:
                yield self._held
            self._held = line
        self._full = len(line) >= self._wraps_at


class Transcript:
    """The first and the last KEPT bytes of a text that is added line by line."""

    def __init__(self) -> None:
        self._head: list[bytes] = []
        self._head_size = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._cut = 0
        self.last_line = ""

    def add(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        if line.strip():
            self.last_line = line.strip()
        if not self._tail and self._head_size + len(data) <= KEPT:
            self._head.append(data)
            self._head_size += len(data)
            return
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size > KEPT:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._cut += gone

    def text(self) -> bytes:
        """All that was kept; a line says how much is missing between its two parts."""
        return b"".join((*self._head, self._note(self._cut), *self._tail))

    def since(self, position: int, most: int) -> tuple[bytes, int]:
        """The lines from byte `position` of all that was added, and where the next one begins.

        No more than `most` bytes of them where that is more than one line; a line says how much is missing.
        """
        found, at = bytearray(), 0
        for line in self._head:
            if at >= position and found and len(found) + len(line) > most:
                return bytes(found), at
            found += line if at >= position else b""
            at += len(line)
        if position < at + self._cut:
            found += self._note(at + self._cut - max(position, at))
        at += self._cut
        for line in self._tail:
            if at >= position and found and len(found) + len(line) > most:
                return bytes(found), at
            found += line if at >= position else b""
            at += len(line)
        return bytes(found), max(at, position)

    @staticmethod
    def _note(cut: int) -> bytes:
        return f"... {cut} bytes are cut out here ...\n".encode() if cut else b""
