"""Finds the files that a POV-Ray scene names, by reading its text as POV-Ray's tokenizer does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*) | (?P<block>/\*) | "(?P<string>(?:\\.|[^"\\])*)"
    | (?P<directive>\#\s*[A-Za-z_]\w*) | (?P<word>[A-Za-z_]\w*) | (?P<mark>[{}(),=;])
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")
_TYPES = frozenset(
    ("png", "jpeg", "gif", "tga", "iff", "ppm", "pgm", "tiff", "sys", "exr", "hdr", "pot", "df3", "ttf", "load_file")
)
"""Words that a file's name follows."""
_MAPS = frozenset(("image_map", "bump_map", "material_map", "image_pattern", "height_field", "image"))
"""Words after whose brace a file's name may follow at once; POV-Ray takes the type from the ending."""
_OPENING = frozenset(("if", "ifdef", "ifndef", "while", "for", "macro", "switch"))
_UNCERTAIN = frozenset(("if", "ifdef", "ifndef", "macro", "switch"))


class Kind(Enum):
    INCLUDE = "include file"
    MEDIA = "file"
    DATA = "data file"  #: read with #fopen: the scene may write it itself, or do without it


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A file named in `line`; `certain` where POV-Ray will need it whatever the scene's conditions are."""

    name: str
    kind: Kind
    line: int
    certain: bool


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


@dataclass
class Reader:
    """Reads the texts of one scene; remembers the strings that it declares (`#declare Map = "a.png";`)."""

    strings: dict[str, str] = field(default_factory=dict)

    def references(self, text: str) -> Iterator[Reference]:
        """The files that `text` names literally, or through a declared string, in order."""
        blocks: list[str] = []
        tokens = list(_tokens(text))
        for place, token in enumerate(tokens):
            if token.kind == "directive":
                if token.text in _OPENING:
                    blocks.append(token.text)
                elif token.text == "end" and blocks:
                    blocks.pop()
                self._note_string(tokens[place + 1 : place + 4], token)
            found = self._reference(tokens, place)
            if found is not None:
                name, kind = found
                certain = not any(block in _UNCERTAIN for block in blocks)
                yield Reference(name=name, kind=kind, line=token.line, certain=certain)

    def _note_string(self, after: list[_Token], directive: _Token) -> None:
        kinds = [token.kind for token in after]
        if directive.text in ("declare", "local") and kinds == ["word", "mark", "string"]:
            self.strings[after[0].text] = after[2].text

    def _reference(self, tokens: list[_Token], place: int) -> tuple[str, Kind] | None:
        token, after = tokens[place], tokens[place + 1 : place + 4]
        if token.kind == "directive" and token.text == "include":
            return self._named(after, 0, Kind.INCLUDE)
        if token.kind == "directive" and token.text == "fopen":
            reading = len(after) > 2 and after[2].text == "read"
            return self._named(after, 1, Kind.DATA) if reading else None
        if token.kind == "word" and token.text in _TYPES:
            return self._named(after, 0, Kind.MEDIA)
        if token.kind == "word" and token.text in _MAPS and after and after[0].text == "{":
            return self._named(after, 1, Kind.MEDIA)
        return None

    def _named(self, after: list[_Token], place: int, kind: Kind) -> tuple[str, Kind] | None:
        if len(after) <= place:
            return None
        token = after[place]
        # concat("maps/", ...) and the like begin with a word that was never declared
        name = token.text if token.kind == "string" else self.strings.get(token.text) if token.kind == "word" else None
        return (name, kind) if name else None


def _tokens(text: str) -> Iterator[_Token]:
    place, line, counted = 0, 1, 0
    while token := _TOKEN.search(text, place):
        place = token.end()
        line += text.count("\n", counted, token.start())
        counted = token.start()
        if token["block"] is not None:
            place = _after_comment(text, place)
        elif token["string"] is not None:
            yield _Token("string", token["string"].replace("\\\\", "\\"), line)
        elif token["directive"] is not None:
            yield _Token("directive", token["directive"][1:].strip(), line)
        elif token["word"] is not None:
            yield _Token("word", token["word"], line)
        elif token["mark"] is not None:
            yield _Token("mark", token["mark"], line)


def _after_comment(text: str, place: int) -> int:
    """Where a block comment ends that is open at `place`; they nest in POV-Ray."""
    depth = 1
    while depth and (edge := _BLOCK.search(text, place)):
        depth += 1 if edge[0] == "/*" else -1
        place = edge.end()
    return len(text) if depth else place
