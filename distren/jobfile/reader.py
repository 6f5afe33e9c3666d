"""Reads distrenjob.xml, which anybody may have written, into a JobSpec.

The checks of `walk` are written out so that an error says what to write instead; the schema is applied last, so that
nothing passes that it forbids.
"""

from __future__ import annotations

from lxml import etree

from distren.domain.job import JobSpec
from distren.errors import JobFileError
from distren.jobfile import schema
from distren.jobfile.scan import DEFAULT_LIMITS, JobFileLimits, Problem, Unreadable, scan
from distren.jobfile.walk import Walk, outer
from distren.jobfile.words import SETTINGS, renderer_namespace


def read_jobfile(data: bytes, limits: JobFileLimits = DEFAULT_LIMITS) -> JobSpec:
    """The job that the bytes of a distrenjob.xml describe.

    Raises JobFileError with the first problem's line and column, and how many more there are.
    """
    spec, problems = _examined(data, limits)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise JobFileError(f"{problems[0]}{more}")
    assert spec is not None
    return spec


def find_problems(data: bytes, limits: JobFileLimits = DEFAULT_LIMITS) -> list[Problem]:
    """Everything that is wrong with a job file, from its top to its end; empty for a good one."""
    return _examined(data, limits)[1]


def places_of_settings(data: bytes) -> dict[int | None, tuple[int, int]]:
    """Line and column of what is said about each group (by its number), and about all other frames (None).

    That is a <settings> element, or the element that could hold it. The job file is a good one.
    """
    root = _parsed(data)
    places = scan(data)
    walk = Walk(root, places)
    walk.job()
    noted = dict(zip(outer(root), places, strict=True))
    told = {number: _told(element, root) for number, element in enumerate(walk.group_elements)}
    return {None: noted[_told(root, root)]} | {number: noted[element] for number, element in told.items()}


def _told(element: etree._Element, root: etree._Element) -> etree._Element:
    """The settings in an element, or the element itself where it has none."""
    own = renderer_namespace(str(element.get("renderer", root.get("renderer"))))
    return next(element.iterchildren(f"{{{own}}}{SETTINGS}"), element)


def _examined(data: bytes, limits: JobFileLimits) -> tuple[JobSpec | None, list[Problem]]:
    try:
        places = scan(data, limits)
        root = _parsed(data)
    except Unreadable as error:
        return None, [error.problem]
    walk = Walk(root, places)
    spec = walk.job()
    problems = sorted(walk.problems) or schema.problems(root)
    return spec, problems


def _parsed(data: bytes) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, encoding="UTF-8"
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise Unreadable(Problem(max(line or 1, 1), column, f"this is no well-formed XML ({error.msg})")) from error
