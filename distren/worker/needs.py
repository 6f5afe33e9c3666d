"""The results of other frames, where a renderer finds them.

<working directory>/needs/frame/<id>/        files of a frame of the same job
<working directory>/needs/<job>/frame/<id>/  files of a frame of another job
<working directory>/needs/<server>/<job>/frame/<id>/  files of a frame of another server
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from distren.domain.job import Blob
from distren.domain.lending import place
from distren.wire.frames import Render
from distren.worker.cache import InputCache, link

FOLDER = "needs"


def lay(render: Render, cache: InputCache, output: Path) -> None:
    """Link the files of every frame that this one needs into the folder that it is rendered in.

    They are hard links: the cache may forget its own while the frame is rendered. What is there already stays. Raises
    what `InputCache.result` raises, DecodeError and OSError.
    """
    for path, digest, size in (*_places(render), *render.placed):
        target = output / FOLDER / place(path)
        if not target.exists():
            with cache.result(Blob(digest=digest, size=size)) as source:
                _link_tree(source, target)


def _places(render: Render) -> Iterator[tuple[str, str, int]]:
    """The needed results with their folders."""
    for job, frame, digest, size in render.needs:
        yield f"frame/{frame}" if job == render.job else f"{job}/frame/{frame}", digest, size


def _link_tree(source: Path, target: Path) -> None:
    """The folder appears when all of it is there: an attempt that waits for the server comes here again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    growing = target.with_name(f".{target.name}")
    for parent, _, names in os.walk(source):
        folder = growing / Path(parent).relative_to(source)
        folder.mkdir(exist_ok=True)
        for name in names:
            link(Path(parent, name), folder / name)
    growing.rename(target)
