"""Walks over the elements of a job file, takes their values, and notes what is wrong, with what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from lxml import etree

from distren.domain import frameset, groups, needs
from distren.domain.frameset import FrameSet
from distren.domain.groups import Group, Output
from distren.domain.job import DEFAULT_POOL, DEFAULT_PRIORITY, JobSpec, Limits
from distren.domain.needs import Needs
from distren.errors import FrameRangeError, JobFileError
from distren.jobfile import settings
from distren.jobfile.elements import NoCanonicalForm, canonical, loose_text, name_of, short
from distren.jobfile.scan import PLACED, Problem
from distren.jobfile.settings import Told
from distren.jobfile.words import (
    ELEMENTS,
    HELD,
    JOB,
    JOB_FAMILY,
    MOST_OUTPUTS,
    SETTINGS,
    Attribute,
    ValueProblem,
    renderer_namespace,
)


class Walk:
    """Walks over the job's own elements and collects values and problems."""

    def __init__(self, root: etree._Element, places: Iterable[tuple[int, int]]) -> None:
        self.problems: list[Problem] = []
        self._root = root
        self._places = dict(zip(outer(root), places, strict=True))
        self._values: dict[str, dict[str, Any]] = {}
        self._frames: list[FrameSet] = []
        self._groups: list[Group] = []
        self.group_elements: list[etree._Element] = []
        self._needs: list[Needs] = []
        self._outputs: tuple[Output, ...] | None = None
        self._told: Told | None = None
        self._extra: list[str] = []

    def job(self) -> JobSpec | None:
        """The job; None where problems were found."""
        if not self._is_job():
            return None
        self._values["job"] = self._attributes(self._root)
        self._check_text(self._root)
        for child in self._root.iterchildren("*"):
            self._child(child)
        if not self._named_frames() or self.problems:
            return None
        spec = self._spec()
        self._check_whole(spec)
        return None if self.problems else spec

    def _spec(self) -> JobSpec:
        job, image, limits = (self._values.get(part, {}) for part in ("job", "image", "limits"))
        told = self._told or Told()
        return JobSpec(
            name=job["name"],
            renderer=job["renderer"],
            frames=FrameSet(tuple(ids for part in self._frames for ids in part.ranges)),
            pool=job.get("pool", DEFAULT_POOL),
            priority=job.get("priority", DEFAULT_PRIORITY),
            width=image.get("width"),
            height=image.get("height"),
            limits=Limits(**limits),
            settings=told.settings,
            content=tuple(told.content),
            outputs=self._outputs or (),
            groups=tuple(self._groups),
            extra=tuple(self._extra),
            needs=tuple(self._needs),
        )

    def _check_whole(self, spec: JobSpec) -> None:
        """What only all frames together can say."""
        try:
            every = frameset.check_count(spec.every)
            groups.check(spec.groups)
            needs.check(every, spec.needs)
        except (FrameRangeError, JobFileError) as error:
            self._wrong(self._root, str(error))

    def _wrong(self, element: etree._Element, text: str) -> None:
        while element not in self._places:
            parent = element.getparent()
            assert parent is not None
            element = parent
        self.problems.append(Problem(*self._places[element], text))

    def _is_job(self) -> bool:
        space, local = name_of(self._root)
        if (space, local) == (JOB, "job"):
            return True
        if local == "job" and space.startswith(JOB_FAMILY):
            self._wrong(self._root, f"the format {short(space)} is not known: this version of DistRen reads {JOB}")
        elif local == "job" and not space:
            self._wrong(self._root, f'<job> has no namespace: write <job xmlns="{JOB}" ...>')
        else:
            self._wrong(self._root, f'<{short(local)}> is no job: write <job xmlns="{JOB}" ...>')
        return False

    # -- elements ----------------------------------------------------------------------------------------------------

    def _child(self, child: etree._Element) -> None:
        space, local = name_of(child)
        if space == JOB:
            self._own_child(child, local)
        elif not space:
            self._wrong(child, f'<{short(local)}> has no namespace: leave xmlns="" out, or give it one')
        elif local == SETTINGS and space.startswith(renderer_namespace(self._renderer).removesuffix("1")):
            self._told = self._settings(child, self._renderer, self._told)
        else:
            self._keep(child)

    def _keep(self, child: etree._Element) -> None:
        try:
            self._extra.append(canonical(child))
        except NoCanonicalForm as error:
            self._wrong(child, str(error))

    @property
    def _renderer(self) -> str:
        return str(self._values["job"].get("renderer", "?"))

    def _own_child(self, child: etree._Element, local: str) -> None:
        if not self._is_known(child, "job"):
            return
        values = self._attributes(child)
        self._check_text(child)
        if local == "frames":
            self._add_frames(child, values)
        elif local == "outputs":
            self._outputs = self._read_outputs(child, self._outputs)
        else:
            self._check_empty(child)
            if local == "needs":
                self._add_needs(child, values)
            elif local in self._values:
                self._wrong(child, f"<{local}> is there twice: keep one of them")
            else:
                self._values[local] = values

    def _is_known(self, child: etree._Element, within: str) -> bool:
        local = name_of(child)[1]
        if local in HELD[within]:
            return True
        place = "here" if within == "job" else f"in <{within}>"
        self._wrong(child, f"<{short(local)}> is not known {place}: {_instead(local, list(HELD[within]), '<{}>')}")
        return False

    def _check_empty(self, element: etree._Element) -> None:
        local = name_of(element)[1]
        for child in element.iterchildren("*"):
            self._wrong(child, f"<{local}> holds no elements: write <{local} .../> with attributes only")

    def _check_text(self, element: etree._Element) -> None:
        if loose := loose_text(element):
            self._wrong(element, f"'{short(loose)}' stands loose in <{name_of(element)[1]}>: delete it")

    def _attributes(self, element: etree._Element) -> dict[str, Any]:
        local = name_of(element)[1]
        known = ELEMENTS[local]
        values: dict[str, Any] = {}
        for attribute, text in element.attrib.items():
            name = str(attribute)
            if name in known:
                values |= self._value(element, name, known[name], str(text))
            else:
                instead = _instead(name, list(known), '{}="..."') if known else "delete it"
                self._wrong(element, f"<{local}> has no attribute {short(name)}: {instead}")
        for name, rule in known.items():
            if rule.required and name not in element.attrib:
                self._wrong(element, f'<{local}> lacks {name}: write for example {name}="{rule.example}"')
        return values

    def _value(self, element: etree._Element, name: str, rule: Attribute, text: str) -> dict[str, Any]:
        try:
            return {name: rule.read(text)}
        except ValueProblem as problem:
            self._wrong(element, f'{name}="{short(text)}" can not be used: {problem}')
            return {}

    # -- frames and their groups -------------------------------------------------------------------------------------

    def _add_frames(self, element: etree._Element, values: dict[str, Any]) -> None:
        if values.keys() == {"ids"} and not len(element):  # by far the most, where there are many
            self._frames.append(values["ids"])
            return
        renderer = values.get("renderer", self._renderer)
        told: Told | None = None
        outputs: tuple[Output, ...] | None = None
        for child in element.iterchildren("*"):
            space, local = name_of(child)
            if local == SETTINGS and space.startswith(renderer_namespace(renderer).removesuffix("1")):
                told = self._settings(child, renderer, told)
            elif space != JOB:
                expected = f'<{SETTINGS} xmlns="{renderer_namespace(renderer)}" .../>'
                self._wrong(child, f"<{short(local)}> means nothing in <frames>: write {expected}")
            elif self._is_known(child, "frames"):
                outputs = self._read_outputs(child, outputs)
        if "ids" not in values:
            return
        told = told or Told()
        group = Group(
            frames=values["ids"],
            renderer=values.get("renderer"),
            label=values.get("label"),
            settings=told.settings,
            content=tuple(told.content),
            outputs=outputs or (),
            offset=self._offset(element, values),
            intermediate=values.get("intermediate", False),
        )
        if group == Group(frames=group.frames):
            self._frames.append(group.frames)
        else:
            self._groups.append(group)
            self.group_elements.append(element)

    def _offset(self, element: etree._Element, values: dict[str, Any]) -> int:
        """How far the ids of frames are from the numbers that they render."""
        frames: FrameSet = values["ids"]
        numbers: FrameSet = values.get("as", frames)
        offset = frames.ranges[0][0] - numbers.ranges[0][0]
        if numbers.shifted(offset) != frames:
            text = "as names the number that each of the ids renders: as many, all of them apart by the same"
            self._wrong(element, f'{text}, for example ids="101-124" as="1-24"')
        return offset

    def _named_frames(self) -> bool:
        """Whether there are frames; where there are none, that is a problem."""
        if self._frames or self._groups:
            return True
        if not any(name_of(child) == (JOB, "frames") for child in self._root.iterchildren("*")):
            self._wrong(self._root, 'the job has no frames: write for example <frames ids="1-24"/>')
        return False

    def _read_outputs(self, element: etree._Element, earlier: tuple[Output, ...] | None) -> tuple[Output, ...]:
        if earlier is not None:
            self._wrong(element, "<outputs> is there twice: keep one of them")
        self._attributes(element)
        self._check_text(element)
        found: dict[str, Output] = {}
        for child in element.iterchildren("*"):
            if name_of(child)[0] != JOB or not self._is_known(child, "outputs"):
                if name_of(child)[0] != JOB:
                    self._wrong(child, '<outputs> holds <output path="..."/> only')
                continue
            values = self._attributes(child)
            self._check_empty(child)
            self._check_text(child)
            if "path" in values:
                output = Output(**values)
                if output.path in found:
                    self._wrong(child, f"the output {short(output.path)} is there twice: keep one of them")
                if (output.width or output.height) and not output.image:
                    self._wrong(child, 'only an image has a width and a height: add image="yes"')
                found[output.path] = output
        if not found:
            self._wrong(element, '<outputs> holds nothing: write <output path="depth{frame:04}.exr"/>, or delete it')
        if len(found) > MOST_OUTPUTS:
            self._wrong(element, f"{len(found)} outputs are more than the {MOST_OUTPUTS} that a frame may have")
        return tuple(found.values())

    def _settings(self, element: etree._Element, renderer: str, earlier: Told | None) -> Told:
        expected, space = renderer_namespace(renderer), name_of(element)[0]
        if space != expected:
            self._wrong(element, f'the format {short(space)} is not known: write <{SETTINGS} xmlns="{expected}" ...>')
            return Told()
        if earlier is not None:
            self._wrong(element, f"<{SETTINGS}> of {renderer} is there twice: keep one of them")
            return earlier
        return settings.read(element, self._wrong)

    def _add_needs(self, element: etree._Element, values: dict[str, Any]) -> None:
        if ("all" in element.attrib) == ("each" in element.attrib):
            self._wrong(element, '<needs> has one of all and each: write all="frame/1-16", or each="frame/1-16"')
        elif "frames" in values and len(values) == 2:
            of = values.get("all") or values["each"]
            pairs = "each" in values
            rule = Needs(frames=values["frames"], needed=of.frames, pairs=pairs, job=of.job, server=of.server)
            self._needs.append(rule)


def outer(element: etree._Element, depth: int = PLACED) -> Iterable[etree._Element]:
    """The elements whose places `scan` notes, in the order of the file."""
    yield element
    if depth > 1:
        for child in element.iterchildren("*"):
            yield from outer(child, depth - 1)


def _instead(word: str, known: list[str], form: str) -> str:
    close = difflib.get_close_matches(word.lower(), known, 1, 0.6)
    return "write " + " or ".join(form.format(name) for name in close or known)
