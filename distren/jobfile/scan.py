"""The first look at a job file: is it well-formed XML within limits, without a document type; where does what begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from distren.errors import JobFileError
from distren.jobfile.words import FILE_NAME
from distren.limits import Limits


@dataclass(frozen=True, kw_only=True)
class JobFileLimits:
    """Caps on a job file: its `bytes`; its `nodes` (elements, attributes, namespaces, comments and processing
    instructions together), which decide how much memory it takes; the elements' `depth`; the characters of one
    `attribute`.
    """

    bytes: int = 8 * 2**20
    nodes: int = 200_000
    depth: int = 32
    attribute: int = 2**20

    @classmethod
    def of(cls, limits: Limits) -> JobFileLimits:
        """Those that a configuration asks for."""
        return cls(
            bytes=limits.jobfile_bytes,
            nodes=limits.jobfile_nodes,
            depth=limits.jobfile_depth,
            attribute=limits.jobfile_attribute,
        )


DEFAULT_LIMITS = JobFileLimits()
PLACED = 4
"""the depth down to which the places of elements are noted: <output> in <outputs> in <frames> in <job>"""


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a job file: line and column count from 1; the text says what to write instead."""

    line: int
    column: int | None
    text: str

    def __str__(self) -> str:
        place = f"line {self.line}" + ("" if self.column is None else f", column {self.column}")
        return f"{FILE_NAME}, {place}: {self.text}"


class Unreadable(JobFileError):
    """The job file is no XML that DistRen reads."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


_ADVICE = {
    expat.errors.XML_ERROR_NO_ELEMENTS: "the file ends before its root element does: write </job> at its end",
    expat.errors.XML_ERROR_TAG_MISMATCH: "this end tag does not fit the element opened last: close that one first",
    expat.errors.XML_ERROR_UNBOUND_PREFIX: 'a namespace prefix is used that nothing declares: add xmlns:prefix="..."',
    expat.errors.XML_ERROR_DUPLICATE_ATTRIBUTE: "an attribute is given twice: keep one of them",
    expat.errors.XML_ERROR_UNDEFINED_ENTITY: "an entity is used that XML does not have: write the character itself",
    expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT: "something follows the end of <job>: move it inside, or delete it",
    expat.errors.XML_ERROR_INVALID_TOKEN: "this is no XML: write &lt; for <, &amp; for &, and values in quotes",
    expat.errors.XML_ERROR_SYNTAX: 'this is no XML: a job file begins with <job xmlns="urn:distren:job:1" ...>',
}


@dataclass
class _Scan:
    limits: JobFileLimits
    parser: expat.XMLParserType
    places: list[tuple[int, int]] = field(default_factory=list)
    depth: int = 0
    nodes: int = 0

    def stop(self, text: str) -> Unreadable:
        return Unreadable(Problem(*self._here(), text))

    def _here(self) -> tuple[int, int]:
        return self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() not in ("UTF-8", "US-ASCII"):
            raise self.stop(f"the encoding {encoding[:40]!r} is not read: save the file as UTF-8 and say so")

    def doctype(self, *_: object) -> None:
        raise self.stop("a document type (<!DOCTYPE) is not allowed: delete it, and write entities out")

    def start(self, _tag: str, attributes: list[str]) -> None:
        """`attributes`: name, value, name, value; a list, since a dict of a million would take too much memory."""
        self.depth += 1
        self.count(1 + len(attributes) // 2)
        if self.depth > self.limits.depth:
            raise self.stop(f"elements are nested more than {self.limits.depth} deep")
        if any(len(value) > self.limits.attribute for value in attributes):
            raise self.stop(f"an attribute has more than {self.limits.attribute} characters: split it up")
        if self.depth <= PLACED:
            self.places.append(self._here())

    def count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > self.limits.nodes:
            raise self.stop(f"the file has more than {self.limits.nodes} elements, attributes and comments")

    def one_more(self, *_: object) -> None:
        self.count(1)

    def end(self, _tag: str) -> None:
        self.depth -= 1


def scan(data: bytes, limits: JobFileLimits = DEFAULT_LIMITS) -> list[tuple[int, int]]:
    """Line and column of the elements that are at most PLACED deep, the root being 1, in the order of the file.

    Raises Unreadable, a JobFileError.
    """
    if len(data) > limits.bytes:
        raise Unreadable(Problem(1, None, f"the file has {len(data)} bytes, more than the limit of {limits.bytes}"))
    if not data.strip():
        raise Unreadable(Problem(1, None, 'the file is empty: write <job xmlns="urn:distren:job:1" ...>'))
    _check_text(data)
    parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
    found = _Scan(limits, parser)
    parser.XmlDeclHandler = found.declaration
    parser.StartDoctypeDeclHandler = found.doctype
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    parser.CommentHandler = found.one_more
    parser.ProcessingInstructionHandler = found.one_more
    parser.StartNamespaceDeclHandler = found.one_more
    parser.ordered_attributes = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        text = expat.ErrorString(error.code)
        problem = Problem(error.lineno, error.offset + 1, _ADVICE.get(text, f"this is no well-formed XML ({text})"))
        raise Unreadable(problem) from error
    return found.places


def _check_text(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        problem = Problem(line, column, "the file is not in UTF-8 here: save it as UTF-8")
        raise Unreadable(problem) from error
