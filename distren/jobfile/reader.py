"""Reads distrenjob.xml, which anybody may have written, into a JobSpec.

The checks here are written out so that an error says what to write instead; the schema job.rng, which editors and
other programs use, is applied last, so that nothing passes that it forbids.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from distren.domain import frameset, needs
from distren.domain.frameset import FrameSet
from distren.domain.job import DEFAULT_POOL, DEFAULT_PRIORITY, JobSpec, Limits
from distren.domain.needs import Needs
from distren.errors import FrameRangeError, JobFileError
from distren.jobfile.scan import DEFAULT_LIMITS, JobFileLimits, Problem, Unreadable, scan
from distren.jobfile.words import (
    ELEMENTS,
    JOB,
    JOB_FAMILY,
    KEY,
    REPEATED,
    SETTINGS,
    Attribute,
    ValueProblem,
    renderer_namespace,
)

SCHEMA = Path(__file__).with_name("job.rng")
"""The RELAX NG schema of the format."""
_SHOWN = 60
_PIECE = 500


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


def place_of_settings(data: bytes) -> tuple[int, int] | None:
    """Line and column of the renderer's settings in a good job file; None where it has none."""
    root = _parsed(data)
    own = renderer_namespace(str(root.get("renderer")))
    places = zip(_outer(root), scan(data), strict=True)
    return next((place for element, place in places if _name(element) == (own, SETTINGS)), None)


def _examined(data: bytes, limits: JobFileLimits) -> tuple[JobSpec | None, list[Problem]]:
    try:
        places = scan(data, limits)
        root = _parsed(data)
    except Unreadable as error:
        return None, [error.problem]
    reading = _Reading(root, places)
    spec = reading.job()
    problems = sorted(reading.problems) or _schema_problems(root)
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


def _schema_problems(root: etree._Element) -> list[Problem]:
    """What the schema finds; made anew each time, since a schema object is not for several threads."""
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    for piece in _pieces(root):
        if not schema.validate(piece):
            return [Problem(max(entry.line, 1), None, f"{entry.message} (schema)") for entry in schema.error_log]
    return []


def _pieces(root: etree._Element) -> Iterator[etree._Element]:
    """A good job in pieces that are good jobs too: the time that libxml2 takes grows with the square of the children.

    What is inside of elements of others is left out: the schema allows everything there.
    """
    children = list(root.iterchildren("*"))
    own = sorted((child for child in children if _name(child)[0] == JOB), key=lambda child: _name(child)[1] in REPEATED)
    others = [etree.Element(child.tag) for child in children if _name(child)[0] != JOB][:_PIECE]
    for start in range(0, max(len(own), 1), _PIECE):
        piece = etree.Element(root.tag, {str(name): str(value) for name, value in root.attrib.items()})
        piece.extend([*map(copy.copy, own[start : start + _PIECE]), *others])
        others = []
        yield piece


class _Reading:
    """Walks over root, children and grandchildren and collects values and problems."""

    def __init__(self, root: etree._Element, places: Iterable[tuple[int, int]]) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._places = dict(zip(_outer(root), places, strict=True))
        self._values: dict[str, dict[str, Any]] = {}
        self._frames: list[FrameSet] = []
        self._needs: list[Needs] = []
        self._settings: dict[str, str] | None = None
        self._extra: list[str] = []

    def job(self) -> JobSpec | None:
        """The job; None where problems were found."""
        if not self._is_job():
            return None
        self._values["job"] = self._attributes(self._root)
        self._check_text(self._root)
        for child in self._root.iterchildren("*"):
            self._child(child)
        frames = self._all_frames()
        if frames is not None and not self.problems:
            self._check_needs(frames)
        return None if self.problems or frames is None else self._spec(frames)

    def _spec(self, frames: FrameSet) -> JobSpec:
        job, image, limits = (self._values.get(part, {}) for part in ("job", "image", "limits"))
        return JobSpec(
            name=job["name"],
            renderer=job["renderer"],
            frames=frames,
            pool=job.get("pool", DEFAULT_POOL),
            priority=job.get("priority", DEFAULT_PRIORITY),
            width=image.get("width"),
            height=image.get("height"),
            limits=Limits(**limits),
            settings=self._settings or {},
            extra=tuple(self._extra),
            needs=tuple(self._needs),
        )

    def _wrong(self, element: etree._Element, text: str) -> None:
        self.problems.append(Problem(*self._places[element], text))

    def _is_job(self) -> bool:
        space, local = _name(self._root)
        if (space, local) == (JOB, "job"):
            return True
        if local == "job" and space.startswith(JOB_FAMILY):
            self._wrong(self._root, f"the format {_short(space)} is not known: this version of DistRen reads {JOB}")
        elif local == "job" and not space:
            self._wrong(self._root, f'<job> has no namespace: write <job xmlns="{JOB}" ...>')
        else:
            self._wrong(self._root, f'<{_short(local)}> is no job: write <job xmlns="{JOB}" ...>')
        return False

    def _child(self, child: etree._Element) -> None:
        space, local = _name(child)
        if space == JOB:
            self._own_child(child, local)
        elif not space:
            self._wrong(child, f'<{_short(local)}> has no namespace: leave xmlns="" out, or give it one')
        elif local == SETTINGS and space.startswith(renderer_namespace(self._renderer).removesuffix("1")):
            self._settings_of_renderer(child, space)
        else:
            self._extra.append(_canonical(child))

    @property
    def _renderer(self) -> str:
        return str(self._values["job"].get("renderer", "?"))

    def _own_child(self, child: etree._Element, local: str) -> None:
        known = sorted(ELEMENTS.keys() - {"job"})
        if local not in known:
            self._wrong(child, f"<{_short(local)}> is not known here: {_instead(local, known, '<{}>')}")
            return
        values = self._attributes(child)
        for grandchild in child.iterchildren("*"):
            self._wrong(grandchild, f"<{local}> holds no elements: write <{local} .../> with attributes only")
        self._check_text(child)
        if local == "needs":
            self._add_needs(child, values)
        elif local in REPEATED:
            self._frames += values.values()
        elif local in self._values:
            self._wrong(child, f"<{local}> is there twice: keep one of them")
        else:
            self._values[local] = values

    def _attributes(self, element: etree._Element) -> dict[str, Any]:
        local = _name(element)[1]
        known = ELEMENTS[local]
        values: dict[str, Any] = {}
        for attribute, text in element.attrib.items():
            name = str(attribute)
            if name in known:
                values |= self._value(element, name, known[name], str(text))
            else:
                instead = _instead(name, list(known), '{}="..."')
                self._wrong(element, f"<{local}> has no attribute {_short(name)}: {instead}")
        for name, rule in known.items():
            if rule.required and name not in element.attrib:
                self._wrong(element, f'<{local}> lacks {name}: write for example {name}="{rule.example}"')
        return values

    def _value(self, element: etree._Element, name: str, rule: Attribute, text: str) -> dict[str, Any]:
        try:
            return {name: rule.read(text)}
        except ValueProblem as problem:
            self._wrong(element, f'{name}="{_short(text)}" can not be used: {problem}')
            return {}

    def _check_text(self, element: etree._Element) -> None:
        """Text between the elements means nothing, so somebody meant something else."""
        texts = [element.text, *(node.tail for node in element)]
        if loose := next((text.strip() for text in texts if text and text.strip()), None):
            self._wrong(element, f"'{_short(loose)}' stands loose in <{_name(element)[1]}>: delete it")

    def _all_frames(self) -> FrameSet | None:
        if not self._frames:
            if not any(_name(child) == (JOB, "frames") for child in self._root.iterchildren("*")):
                self._wrong(self._root, 'the job has no frames: write for example <frames ids="1-24"/>')
            return None
        frames = FrameSet(tuple(ids for part in self._frames for ids in part.ranges))
        try:
            return frameset.check_count(frames)
        except FrameRangeError as error:
            self._wrong(self._root, str(error))
            return None

    def _add_needs(self, element: etree._Element, values: dict[str, Any]) -> None:
        if ("all" in element.attrib) == ("each" in element.attrib):
            self._wrong(element, '<needs> has one of all and each: write all="frame/1-16", or each="frame/1-16"')
        elif "frames" in values and len(values) == 2:
            of = values.get("all") or values["each"]
            pairs = "each" in values
            rule = Needs(frames=values["frames"], needed=of.frames, pairs=pairs, job=of.job, server=of.server)
            self._needs.append(rule)

    def _check_needs(self, frames: FrameSet) -> None:
        try:
            needs.check(frames, self._needs)
        except JobFileError as error:
            self._wrong(self._root, str(error))

    def _settings_of_renderer(self, element: etree._Element, space: str) -> None:
        expected = renderer_namespace(self._renderer)
        if space != expected:
            self._wrong(element, f'the format {_short(space)} is not known: write <{SETTINGS} xmlns="{expected}" ...>')
            return
        if self._settings is not None:
            self._wrong(element, f"<{SETTINGS}> of {self._renderer} is there twice: keep one of them")
            return
        self._settings = {}
        self._check_text(element)
        for key, value in element.attrib.items():
            self._setting(element, str(key), str(value))
        for child in element.iterchildren("*"):
            child_space, key = _name(child)
            if child_space != space or len(child) or child.attrib:
                self._wrong(child, f"<{_short(key)}> is no setting: write <name>text</name>, or an attribute")
            else:
                self._setting(child, key, (child.text or "").strip())

    def _setting(self, element: etree._Element, key: str, value: str) -> None:
        assert self._settings is not None
        if not KEY.fullmatch(key):
            self._wrong(element, f"'{_short(key)}' is no name of a setting: use letters, digits, '.', '-' and '_'")
        elif key in self._settings:
            self._wrong(element, f"the setting {key} is given twice: keep one of them")
        else:
            self._settings[key] = value


def _outer(root: etree._Element) -> Iterable[etree._Element]:
    """Root, its children and theirs, in the order of the file."""
    yield root
    for child in root.iterchildren("*"):
        yield child
        yield from child.iterchildren("*")


def _name(element: etree._Element) -> tuple[str, str]:
    name = etree.QName(element)
    return name.namespace or "", name.localname


def _canonical(element: etree._Element) -> str:
    """Exclusive canonical XML: the element with every namespace that it uses, whatever was around it."""
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=True, with_tail=False).decode()


def _instead(word: str, known: list[str], form: str) -> str:
    close = difflib.get_close_matches(word.lower(), known, 1, 0.6)
    return "write " + " or ".join(form.format(name) for name in close or known)


def _short(text: str) -> str:
    flat = "".join(char if char.isprintable() else "?" for char in text)
    return flat if len(flat) <= _SHOWN else f"{flat[:_SHOWN]}..."
