"""What this machine can render: the adapters whose programs are here, and their versions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from distren.config import Settings
from distren.errors import RendererUnavailable
from distren.renderers.protocol import Allowance, Capability, Configurable, Renderer
from distren.renderers.registry import HELPERS

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Skills:
    """The adapters that can be used here, what the worker reports, and where their programs are (as configured).

    `versions` has the version of each capability: as a rule that is a renderer's name. `scripts`: the worker's owner
    lets scenes run scripts of their own. `allows`: see Capability.
    """

    adapters: Mapping[str, Renderer]
    versions: Mapping[str, str]
    programs: Mapping[str, str | None]
    scripts: bool = False
    allows: Mapping[str, Allowance] = field(default_factory=dict)

    @property
    def of_class(self) -> Mapping[str, str]:
        """The versions that make the class: without those of renderers that every worker has."""
        return {name: version for name, version in self.versions.items() if name not in HELPERS}


def find(installed: Mapping[str, Renderer], settings: Settings, wanted: Sequence[str] | None) -> Skills:
    """Probe the adapters in `wanted` (None: all that are installed); those whose program is missing are left out.

    The helpers are there whatever is wanted. Raises RendererUnavailable where one that was asked for by name can not
    run here, or none can; it says what to install. Raises SettingsError for a configuration that can not be used.
    """
    unknown = [name for name in wanted or () if name not in installed]
    if unknown:
        known = ", ".join(sorted(installed)) or "none"
        raise RendererUnavailable(f"no renderer is called '{unknown[0]}'; installed here: {known}")
    names = list(dict.fromkeys([*(wanted if wanted is not None else sorted(installed)), *_helpers(installed)]))
    adapters = {name: configured(installed[name], settings) for name in names}
    probed = {name: probe(adapters[name], settings) for name in names}
    missing = {name: one.missing or "its program is not installed" for name, one in probed.items() if not one.version}
    programs = set(names) - HELPERS
    if missing and (wanted is not None or programs <= set(missing)):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise RendererUnavailable(f"this machine can not render with {reasons}")
    if not programs:
        raise RendererUnavailable("no renderer is installed: install DistRen again")
    for name, one in probed.items():
        if one.version is not None and one.missing is not None:
            log.warning("%s: %s", name, one.missing)
    versions: dict[str, str] = {}
    for name, one in probed.items():
        if one.version is not None:
            versions |= one.offers or {name: one.version}
    return Skills(
        adapters={name: adapter for name, adapter in adapters.items() if name not in missing},
        versions=versions,
        programs={name: program(settings, name) for name in names},
        scripts=settings.scene_scripts,
        allows={what: allowed for one in probed.values() for what, allowed in one.allows.items()},
    )


def _helpers(installed: Iterable[str]) -> list[str]:
    return sorted(HELPERS.intersection(installed))


def configured(adapter: Renderer, settings: Settings) -> Renderer:
    """The adapter as this machine's owner has configured it; raises SettingsError."""
    return adapter.configured(settings) if isinstance(adapter, Configurable) else adapter


def probe(adapter: Renderer, settings: Settings) -> Capability:
    """Whether this machine can render with the adapter's program; raises SettingsError."""
    return configured(adapter, settings).probe(program(settings, adapter.name))


def program(settings: Settings, name: str) -> str | None:
    """The program of renderer `name` as this machine's owner configured it; None: the adapter looks for it."""
    return settings.programs.get(name) or {"povray": settings.povray}.get(name)
