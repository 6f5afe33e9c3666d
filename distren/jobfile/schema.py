"""Checks a job file against the RELAX NG schema job.rng, which editors and other programs use as well."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from distren.jobfile.elements import name_of
from distren.jobfile.scan import Problem
from distren.jobfile.words import JOB, REPEATED

SCHEMA = Path(__file__).with_name("job.rng")
"""The RELAX NG schema of the format."""
_PIECE = 200


def problems(root: etree._Element) -> list[Problem]:
    """What the schema finds; it is made anew each time, since a schema object is not for several threads."""
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    for piece in _pieces(root):
        if not schema.validate(piece):
            return [Problem(max(entry.line, 1), None, f"{entry.message} (schema)") for entry in schema.error_log]
    return []


def _pieces(root: etree._Element) -> Iterator[etree._Element]:
    """A good job in pieces that are good jobs too: the time that libxml2 takes grows with the square of the children.

    What is inside of elements of others is left out: the schema allows everything there. So are all but the first of
    the <frames> that have nothing but `ids`, which was read before.
    """
    children = list(root.iterchildren("*"))
    ours = [child for child in children if name_of(child)[0] == JOB]
    plain = [child for child in ours if _is_plain(child)]
    left_out = set(plain[1:])
    own = sorted((child for child in ours if child not in left_out), key=lambda child: name_of(child)[1] in REPEATED)
    others = [etree.Element(child.tag) for child in children if name_of(child)[0] != JOB][:_PIECE]
    for start in range(0, max(len(own), 1), _PIECE):
        piece = etree.Element(root.tag, {str(name): str(value) for name, value in root.attrib.items()})
        piece.extend([*map(_outline, own[start : start + _PIECE]), *others])
        others = []
        yield piece


def _is_plain(element: etree._Element) -> bool:
    return name_of(element)[1] == "frames" and element.keys() == ["ids"] and not len(element) and not element.text


def _outline(element: etree._Element) -> etree._Element:
    """A copy of one of the job's own elements, without what is inside of elements of others."""
    outline = copy.copy(element)
    for child in list(outline.iterchildren("*")):
        if name_of(child)[0] != JOB:
            outline.replace(child, etree.Element(child.tag))
    return outline
