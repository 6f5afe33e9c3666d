"""Finds the renderers that are installed, through the entry point group `distren.renderers`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from distren.errors import InputError, RendererUnavailable
from distren.renderers.protocol import Renderer


@functools.cache
def installed() -> Mapping[str, Renderer]:
    """Every installed adapter by its name."""
    found: dict[str, Renderer] = {}
    for point in entry_points(group="distren.renderers"):
        adapter: Renderer = point.load()()
        found[adapter.name] = adapter
    return found


def named(name: str) -> Renderer:
    """The adapter called `name`; raises RendererUnavailable that lists those that there are."""
    try:
        return installed()[name]
    except KeyError:
        known = ", ".join(sorted(installed())) or "none"
        raise RendererUnavailable(f"no renderer is called '{name}'; installed here: {known}") from None


def for_scene(path: Path) -> Renderer:
    """The adapter whose scenes look like `path`; raises InputError."""
    for adapter in installed().values():
        if adapter.accepts(path):
            return adapter
    raise InputError(
        f"no renderer knows what to do with '{path.name}': name a scene, a directory or a tarball of a job"
    )
