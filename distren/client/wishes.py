"""What somebody who hands in a job asks for beside the source; it wins over the job file and the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distren.client import plan
from distren.domain import groups, needs
from distren.domain.frameset import FrameSet, check_count
from distren.domain.groups import Output
from distren.domain.job import JobSpec
from distren.errors import SettingsError
from distren.jobfile import words
from distren.jobfile.words import ValueProblem
from distren.renderers import tiles

_JOB = ("renderer", "frames", "width", "height", "name", "pool", "priority")
_LIMITS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "time_limit": ("time", words.time),
    "silence_limit": ("silence", words.time),
    "memory_limit": ("memory", words.size),
    "output_limit": ("output", words.size),
    "attempts": ("attempts", words.attempts),
}
_RULES: Mapping[str, Callable[[str], object]] = {
    "renderer": words.renderer,
    "width": words.pixels,
    "height": words.pixels,
    "name": words.name,
    "pool": words.pool,
    "priority": words.priority,
    **{part: rule for part, (_, rule) in _LIMITS.items()},
}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """None, and nothing, leave a thing as the job file or the scene has it.

    Limits are text as in the job file (`20m`, `4G`), or seconds and bytes. `outputs` are files that each frame must
    produce beyond its renderer's own. `tiles` (`4x4`) divides each image, `video` adds a video, with these settings of
    the renderer encode. `scene` names the scene in a folder without distrenjob.xml, where there are several.
    """

    renderer: str | None = None
    frames: FrameSet | None = None
    width: int | None = None
    height: int | None = None
    name: str | None = None
    pool: str | None = None
    priority: int | None = None
    time_limit: str | int | None = None
    silence_limit: str | int | None = None
    memory_limit: str | int | None = None
    output_limit: str | int | None = None
    attempts: int | None = None
    outputs: Sequence[Output] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    scene: str | None = None
    tiles: str | None = None
    video: Mapping[str, str] | None = None

    def check(self) -> None:
        """Raises SettingsError for what can not be used, FrameRangeError for too many frames."""
        for part, rule in _RULES.items():
            if (value := getattr(self, part)) is not None:
                _check(part.replace("_", " "), str(value), rule)
        for output in self.outputs:
            _check("output", output.path, words.output)
        if len(self.outputs) > words.MOST_OUTPUTS:
            raise SettingsError(f"{len(self.outputs)} outputs are more than the {words.MOST_OUTPUTS} of a frame")
        if self.frames is not None:
            check_count(self.frames)

    def over(self, spec: JobSpec) -> JobSpec:
        """The job with these wishes. Raises InputError where it can not be divided into tiles."""
        given = {part: value for part in _JOB if (value := getattr(self, part)) is not None}
        if "name" in given:
            given["name"] = words.name(given["name"])
        limits = {
            word: rule(str(value))
            for part, (word, rule) in _LIMITS.items()
            if (value := getattr(self, part)) is not None
        }
        spec = replace(
            spec,
            **given,
            settings={**spec.settings, **self.settings},
            limits=replace(spec.limits, **limits),
            outputs=tuple(self.outputs) or spec.outputs,
        )
        if self.frames is not None:
            spec = replace(
                spec,
                needs=needs.restricted(spec.needs, self.frames),
                groups=groups.restricted(spec.groups, self.frames),
            )
        if self.tiles is not None:
            spec = plan.tiled(spec, tiles.parse(self.tiles))
        return spec if self.video is None else plan.filmed(spec, self.video)


def _check(what: str, value: str, rule: Callable[[str], object]) -> None:
    try:
        rule(value)
    except ValueProblem as problem:
        raise SettingsError(f"{what} '{value}' can not be used: {problem}") from problem
