"""Asks the renderers of a job whether they can do what it wants: their settings, and elements by their schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lxml import etree

from distren.domain.groups import Work
from distren.domain.job import JobSpec
from distren.errors import JobFileError
from distren.jobfile.words import SETTINGS, renderer_namespace
from distren.renderers import registry
from distren.renderers.protocol import Allowance, Renderer

_SHOWN = 60


def works(spec: JobSpec) -> Iterator[tuple[int | None, Work]]:
    """What is to be done in a job: for the frames of no group (None) where there are such, then for each group."""
    if spec.frames.ranges:
        yield None, spec.work
    for number, group in enumerate(spec.groups):
        yield number, group.over(spec.work)


def check_works(spec: JobSpec) -> None:
    """Raise JobFileError where a renderer whose adapter is installed here refuses what the job asks of it."""
    for number, work in works(spec):
        if adapter := registry.installed().get(work.renderer):
            try:
                check_work(adapter, work)
            except JobFileError as error:
                where = "" if number is None else f" for frames {str(spec.groups[number].frames)[:_SHOWN]}"
                raise JobFileError(f"{work.renderer}{where}: {error}") from error


def capability_of(work: Work) -> str:
    """What a worker must report to be given frames with this work."""
    return registry.capability(work.renderer, work.settings)


def lanes_of(spec: JobSpec) -> tuple[str, ...]:
    """The capabilities that the job's frames need, each once; that of the job itself comes first."""
    groups = (capability_of(group.over(spec.work)) for group in spec.groups)
    return tuple(dict.fromkeys((capability_of(spec.work), *groups)))


def check_work(adapter: Renderer, work: Work) -> None:
    """Raise JobFileError where the adapter refuses the settings, or its schema the elements in them."""
    adapter.check(work.settings)
    if not work.content:
        return
    schema: Path | None = getattr(adapter, "schema", None)
    if schema is None:
        name = etree.QName(etree.fromstring(work.content[0])).localname
        raise JobFileError(f"<{name}> is no setting of {work.renderer}: write <name>text</name>, or an attribute")
    namespace = renderer_namespace(work.renderer)
    element = etree.Element(f"{{{namespace}}}{SETTINGS}", dict(work.settings))
    element.extend([etree.fromstring(text) for text in work.content])
    rules = etree.RelaxNG(etree.parse(str(schema)))
    if not rules.validate(element):
        found = rules.error_log[0].message if len(rules.error_log) else "they break the renderer's schema"
        raise JobFileError(f"the settings can not be used: {' '.join(found.split())}")


def check_allowed(work: Work, announced: Sequence[Allowance]) -> None:
    """Raise JobFileError for settings that none of the workers allows that have announced which they do."""
    refusals = [next(_refusals(work.settings, one), None) for one in announced]
    if refusals and None not in refusals:
        raise JobFileError(f"{capability_of(work)}: {refusals[0]}")


def _refusals(settings: Mapping[str, str], allowed: Allowance) -> Iterator[str]:
    for name, value in settings.items():
        if "." in name and name not in allowed:
            yield f"no worker allows the setting '{name}'; there are {', '.join(allowed) or 'none'}"
        elif "." in name and (choices := allowed[name]) is not None and value not in choices:
            yield f"{name}='{value}' can not be used: write {', '.join(choices)}"
