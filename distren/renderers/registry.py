"""Finds the renderers that are installed, through the entry point group `distren.renderers`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from distren.errors import InputError, RendererUnavailable
from distren.renderers.declaration import Declaration
from distren.renderers.protocol import Divided, Renderer

log = logging.getLogger(__name__)

HELPERS = frozenset({"encode", "merge"})
"""renderers that every worker has: they need nothing but DistRen's own libraries, and do not count in a class's name"""


@functools.cache
def installed() -> Mapping[str, Renderer]:
    """Every installed adapter by its name; one that can not be loaded is left out, and the log says why."""
    found: dict[str, Renderer] = {}
    for point in entry_points(group="distren.renderers"):
        try:
            adapter: Renderer = point.load()()
            if not isinstance(adapter.declaration, Declaration):
                raise TypeError(f"its declaration is a {type(adapter.declaration).__name__}")
        except Exception:  # another project's code: it may raise anything, and must not take the farm along
            log.exception("renderer left out: it can not be loaded", extra={"renderer": point.name})
            continue
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


def capability(renderer: str, settings: Mapping[str, str]) -> str:
    """What a worker must report to be given frames of `renderer` with these settings; as a rule, its name."""
    adapter = installed().get(renderer)
    return adapter.capability(settings) if isinstance(adapter, Divided) else renderer
