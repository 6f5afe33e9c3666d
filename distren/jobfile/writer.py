"""Writes distrenjob.xml: the same bytes for the same job, laid out for people to read and edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from distren.domain.frameset import FrameSet
from distren.domain.groups import Group, Output
from distren.domain.job import JobSpec, Limits
from distren.domain.needs import Needs
from distren.errors import JobFileError
from distren.jobfile.reader import read_jobfile
from distren.jobfile.words import FILE_NAME, JOB, SETTINGS, Reference, renderer_namespace, write_size, write_time

_RANGES = 1_000
"""in one <frames>; keeps its attribute far below the limit on attributes, however many ids there are"""
_ESCAPES = {ord(char): f"&#{ord(char)};" for char in "\t\n\r"} | {
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
}


def write_jobfile(spec: JobSpec) -> bytes:
    """The job file of `spec`; it is read back before it is given out, so that nobody gets one that can not be read.

    Raises JobFileError for what a job file can not hold (a control character, say).
    """
    try:
        data = "\n".join(('<?xml version="1.0" encoding="UTF-8"?>', *_lines(spec), "")).encode()
    except UnicodeEncodeError as error:
        raise JobFileError(f"the job can not be written to {FILE_NAME}: it holds text that is not Unicode") from error
    read = read_jobfile(data)
    for part in fields(JobSpec):
        if getattr(read, part.name) != getattr(spec, part.name):
            raise JobFileError(f"the job's {part.name} can not be written to {FILE_NAME}: it would be read differently")
    return data


def _lines(spec: JobSpec) -> Iterator[str]:
    head: dict[str, str | int | None] = {
        "name": spec.name,
        "renderer": spec.renderer,
        "pool": spec.pool,
        "priority": spec.priority,
    }
    yield f'<job xmlns="{JOB}"{_attributes(head)}>'
    size: dict[str, str | int | None] = {"width": spec.width, "height": spec.height}
    if spec.width is not None or spec.height is not None:
        yield f"  <image{_attributes(size)}/>"
    yield f"  <limits{_attributes(_limits(spec.limits))}/>"
    yield from _outputs(spec.outputs, "  ")
    for start in range(0, len(spec.frames.ranges), _RANGES):
        part = FrameSet(spec.frames.ranges[start : start + _RANGES])
        yield f"  <frames{_attributes({'ids': str(part)})}/>"
    for group in spec.groups:
        yield from _group(group, spec.renderer)
    yield from (f"  <needs{_attributes(_needs(rule))}/>" for rule in spec.needs)
    yield from _settings(spec.renderer, spec.settings, spec.content, "  ")
    yield from (f"  {element}" for element in spec.extra)
    yield "</job>"


def _limits(limits: Limits) -> dict[str, str | int | None]:
    return {
        "time": write_time(limits.time),
        "silence": None if limits.silence is None else write_time(limits.silence),
        "memory": None if limits.memory is None else write_size(limits.memory),
        "output": None if limits.output is None else write_size(limits.output),
        "attempts": limits.attempts,
    }


def _group(group: Group, renderer: str) -> Iterator[str]:
    inside = [
        *_outputs(group.outputs, "    "),
        *_settings(group.renderer or renderer, group.settings, group.content, "    "),
    ]
    about = {
        "ids": str(group.frames),
        "as": str(group.frames.shifted(-group.offset)) if group.offset else None,
        "renderer": group.renderer,
        "label": group.label,
        "intermediate": "yes" if group.intermediate else None,
    }
    head = _attributes(about)
    if inside:
        yield from (f"  <frames{head}>", *inside, "  </frames>")
    else:
        yield f"  <frames{head}/>"


def _outputs(outputs: Sequence[Output], indent: str) -> Iterator[str]:
    if outputs:
        yield f"{indent}<outputs>"
        for output in outputs:
            image = "yes" if output.image else None
            about = {"path": output.path, "image": image, "width": output.width, "height": output.height}
            yield f"{indent}  <output{_attributes(about)}/>"
        yield f"{indent}</outputs>"


def _settings(renderer: str, settings: Mapping[str, str], content: Sequence[str], indent: str) -> Iterator[str]:
    if settings or content:
        head = (
            f'{indent}<{SETTINGS} xmlns="{renderer_namespace(renderer)}"{_attributes(dict(sorted(settings.items())))}'
        )
        if content:
            yield from (f"{head}>", *(f"{indent}  {element}" for element in content), f"{indent}</{SETTINGS}>")
        else:
            yield f"{head}/>"


def _needs(rule: Needs) -> dict[str, str | int | None]:
    reference = Reference(frames=rule.needed, job=rule.job, server=rule.server)
    return {"frames": str(rule.frames), "each" if rule.pairs else "all": str(reference)}


def _attributes(values: Mapping[str, str | int | None]) -> str:
    return "".join(f' {name}="{str(value).translate(_ESCAPES)}"' for name, value in values.items() if value is not None)
