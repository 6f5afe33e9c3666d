"""Tar headers as bytes: POSIX.1-2001 `ustar` and `pax`, and what GNU tar writes by default.

Format: POSIX.1-2017, the pax utility, "ustar Interchange Format" and "pax Extended Header"; the GNU tar manual,
"Basic Tar Format".
"""

from __future__ import annotations

import re
from typing import NamedTuple

BLOCK = 512
END = bytes(BLOCK)
"""an archive ends with two of these"""
FILE, FOLDER, PAX, PAX_GLOBAL, GNU_NAME = b"0", b"5", b"x", b"g", b"L"
_OTHERS = {
    b"1": "a hard link: pack it with tar --hard-dereference",
    b"2": "a symbolic link: pack it with tar --dereference",
    b"3": "a character device: leave it out",
    b"4": "a block device: leave it out",
    b"6": "a FIFO: leave it out",
    b"K": "a link: pack it with tar --dereference",
    b"S": "a sparse file: pack it without tar --sparse",
}
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
_OCTAL_LIMIT = 8**11


class HeaderError(ValueError):
    """A header that is damaged, or that asks for what a seed may not hold; the message completes 'member 3: ...'."""


class Header(NamedTuple):
    """One header block: the path as bytes, the size of the data that follows, and the type flag."""

    path: bytes
    size: int
    kind: bytes


def parse_header(block: bytes) -> Header:
    """Read a block of 512 bytes that is not all zeroes; raises HeaderError."""
    if sum(block) - sum(block[148:156]) + 8 * 32 != _number(block[148:156]):
        raise HeaderError("its header is damaged (wrong checksum)")
    if block[257:262] != b"ustar":
        raise HeaderError("it is in a form of tar older than POSIX: pack it again with a current tar")
    path = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0" and block[345]:  # GNU tar keeps times where POSIX keeps the path's beginning
        path = block[345:500].split(b"\0", 1)[0] + b"/" + path
    kind = block[156:157]
    return Header(path, _number(block[124:136]), FILE if kind == b"\0" else kind)


def refusal(kind: bytes) -> str:
    """Why a member of a type that is neither file nor folder is refused."""
    what = _OTHERS.get(kind, f"of a type ({kind!r}) that is not known: pack regular files only")
    return f"it is {what}"


def _number(field: bytes) -> int:
    """An octal number, or GNU's form for large ones: a byte 0x80, then big-endian binary."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise HeaderError("its header is damaged (a number can not be read)")
    return int(match[1] or b"0", 8)


def parse_pax(data: bytes, *, everywhere: bool = False) -> tuple[bytes | None, int | None]:
    """The path and the size that an extended header gives; `everywhere`: it is a global one, which may give neither."""
    found: dict[bytes, bytes] = {}
    for key, value in _records(data):
        if key.startswith(b"GNU.sparse."):
            raise HeaderError(refusal(b"S"))
        if key == b"hdrcharset" and value != b"ISO-IR 10646 2000 UTF-8":
            raise HeaderError("its names are not in UTF-8: rename the files, then pack them again")
        if key in (b"path", b"size"):
            if key in found or everywhere:
                raise HeaderError(f"its extended header gives a {key.decode()} that can not be trusted")
            found[key] = value
    size = found.get(b"size")
    return found.get(b"path"), None if size is None else _decimal(size)


def _records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Records `LENGTH KEY=VALUE\\n`, where LENGTH is decimal and counts the whole record."""
    records = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        length = _decimal(data[at:space]) if space > at else 0
        end = at + length
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if space < at or end > len(data) or end <= space + 2 or data[end - 1 : end] != b"\n" or not equals:
            raise HeaderError("its extended header is damaged")
        records.append((key, value))
        at = end
    return records


def _decimal(text: bytes) -> int:
    if not _DIGITS.fullmatch(text.decode("latin-1")):
        raise HeaderError("its extended header is damaged (a number can not be read)")
    return int(text)


def header_blocks(path: str, size: int) -> bytes:
    """The header of a regular file, with an extended one before it where ustar has no room; the same for the same file.

    Owner and group are 0, the time is 0, the mode 0644.
    """
    name, prefix = _split(path)
    records = b""
    if name is None or prefix is None:
        records += _record(b"path", path.encode())
        name, prefix = path.encode()[:100], b""
    if size >= _OCTAL_LIMIT:
        records += _record(b"size", str(size).encode())
    block = _ustar(name, 0 if size >= _OCTAL_LIMIT else size, FILE, prefix)
    if not records:
        return block
    return _ustar(b"././@PaxHeader", len(records), PAX) + padded(records) + block


def padded(data: bytes) -> bytes:
    """`data`, filled up to whole blocks."""
    return data + bytes(-len(data) % BLOCK)


def _split(path: str) -> tuple[bytes | None, bytes | None]:
    """Name and prefix for ustar, which has 100 and 155 bytes for ASCII; None where they do not suffice."""
    if not path.isascii():
        return None, None
    raw = path.encode()
    if len(raw) <= 100:
        return raw, b""
    cut = raw.find(b"/", len(raw) - 101)
    if cut <= 0 or cut > 155:
        return None, None
    return raw[cut + 1 :], raw[:cut]


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _ustar(name: bytes, size: int, kind: bytes, prefix: bytes = b"") -> bytes:
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[124:148] = b"%011o\x0000000000000\x00" % size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\x000000000\x00"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block)
