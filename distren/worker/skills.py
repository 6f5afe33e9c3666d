"""What this machine can render: the adapters whose programs are here, and their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distren.config import Settings
from distren.errors import RendererUnavailable
from distren.renderers.protocol import Capability, Renderer


@dataclass(frozen=True, kw_only=True)
class Skills:
    """The adapters that can be used here, their programs' versions, and where those programs are (as configured).

    `scripts`: the worker's owner lets scenes run scripts of their own.
    """

    adapters: Mapping[str, Renderer]
    versions: Mapping[str, str]
    programs: Mapping[str, str | None]
    scripts: bool = False


def find(installed: Mapping[str, Renderer], settings: Settings, wanted: Sequence[str] | None) -> Skills:
    """Probe the adapters in `wanted` (None: all that are installed); those whose program is missing are left out.

    Raises RendererUnavailable where one that was asked for by name can not run here, or none can; it says what to
    install.
    """
    unknown = [name for name in wanted or () if name not in installed]
    if unknown:
        known = ", ".join(sorted(installed)) or "none"
        raise RendererUnavailable(f"no renderer is called '{unknown[0]}'; installed here: {known}")
    names = list(dict.fromkeys(wanted)) if wanted is not None else sorted(installed)
    adapters: dict[str, Renderer] = {}
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    programs = {name: program(settings, name) for name in names}
    for name in names:
        capability = probe(installed[name], settings)
        if capability.version is None:
            missing[name] = capability.missing or "its program is not installed"
        else:
            adapters[name], versions[name] = installed[name], capability.version
    if missing and (wanted is not None or not adapters):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise RendererUnavailable(f"this machine can not render with {reasons}")
    if not adapters:
        raise RendererUnavailable("no renderer is installed: install DistRen again")
    return Skills(adapters=adapters, versions=versions, programs=programs, scripts=settings.scene_scripts)


def probe(adapter: Renderer, settings: Settings) -> Capability:
    """Whether this machine, as its owner configured it, can render with the adapter's program."""
    return adapter.probe(program(settings, adapter.name))


def program(settings: Settings, name: str) -> str | None:
    """The program of renderer `name` as this machine's owner configured it; None: the adapter looks for it."""
    return settings.programs.get(name) or {"povray": settings.povray}.get(name)
