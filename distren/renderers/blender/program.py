"""Which program is Blender on this machine: `blender`, or the Python module bpy, which is Blender as well."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import sys

from distren import resources

NAME = "blender"


def find(configured: str | None) -> tuple[str, ...] | None:
    """The first arguments of a call of Blender; None where there is none. `configured`: what the owner says it is."""
    found = shutil.which(configured or NAME)
    if found is not None:
        return (found,)
    return _module() if configured is None else None


def called(configured: str | None) -> tuple[str, ...]:
    """The same for a frame: where there is none, what then is told to be missing."""
    found = None if configured is not None or shutil.which(NAME) is not None else _module()
    return found or (configured or NAME,)


@functools.cache
def _module() -> tuple[str, ...] | None:
    """Our Python with the module bpy, if it is installed there; it is not imported here."""
    if importlib.util.find_spec("bpy") is None:
        return None
    return (sys.executable, "-I", str(resources.folder("workers") / "blender" / "blender_of_bpy.py"))
