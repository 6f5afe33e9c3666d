"""What `--tiles` and `--video` add to a job: frames that render parts of images, merge them, and encode a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from distren.domain import frameset
from distren.domain.frameset import FrameSet
from distren.domain.groups import Group
from distren.domain.job import JobSpec
from distren.domain.needs import Needs
from distren.errors import InputError
from distren.renderers import registry, tiles
from distren.renderers.tiles import Grid

ENCODE, MERGE = "encode", "merge"


def tiled(spec: JobSpec, grid: Grid) -> JobSpec:
    """The job with each image divided into tiles: the frames of before put them together, under their ids of before.

    The ids of a tile's frames are the frames' own, with the tile's number (from 1, row by row) before them: tile 3 of
    frame 12 of 48 is frame 312. Raises InputError where the job can not be divided.
    """
    if spec.groups or spec.needs:
        raise InputError(
            "--tiles divides jobs whose frames are alike and need no others: leave it out, or make two jobs"
        )
    if (adapter := registry.installed().get(spec.renderer)) and not adapter.declaration.can_tile:
        raise InputError(f"{adapter.declaration.title} can not render tiles: leave --tiles out")
    if spec.width is None or spec.height is None:
        raise InputError("to be divided into tiles, the images must have a size that is known: give --size")
    frames, stride = spec.frames, tiles.stride(spec.frames.last)
    parts = [
        Group(
            frames=frames.shifted(number * stride),
            offset=number * stride,
            label=f"tile {number}",
            intermediate=True,
            settings=tile.settings,
        )
        for number, tile in enumerate(tiles.divide(spec.width, spec.height, grid), start=1)
    ]
    merged = Group(frames=frames, renderer=MERGE, label="merged", settings={"tiles": str(grid)})
    needs = tuple(Needs(frames=frames, needed=part.frames, pairs=True) for part in parts)
    return replace(spec, frames=FrameSet(()), groups=(*parts, merged), needs=needs)


def filmed(spec: JobSpec, settings: Mapping[str, str]) -> JobSpec:
    """The job with one frame more, whose id is the next above all others: a video of the images of the result."""
    number = spec.every.last + 1
    shown = (group for group in spec.groups if not group.intermediate and group.renderer != ENCODE)
    images = FrameSet((*spec.frames.ranges, *(ids for group in shown for ids in group.frames.ranges)))
    if not images.is_disjoint:
        images = frameset.of(sorted(set(images)))
    video = frameset.of([number])
    group = Group(frames=video, renderer=ENCODE, label="video", settings=settings)
    return replace(spec, groups=(*spec.groups, group), needs=(*spec.needs, Needs(frames=video, needed=images)))
