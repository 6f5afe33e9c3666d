"""The results of other frames, where a renderer finds them.

<working directory>/needs/frame/<id>/        files of a frame of the same job
<working directory>/needs/<job>/frame/<id>/  files of a frame of another job
"""

from __future__ import annotations

import os
from pathlib import Path

from distren.domain.job import Blob
from distren.wire.frames import Render
from distren.worker.cache import InputCache, link

FOLDER = "needs"


def lay(render: Render, cache: InputCache, output: Path) -> None:
    """Link the files of every frame that this one needs into the folder that it is rendered in.

    They are hard links: the cache may forget its own while the frame is rendered. What is there already stays. Raises
    what `InputCache.result` raises, and OSError.
    """
    for job, frame, digest, size in render.needs:
        of_job = output / FOLDER if job == render.job else output / FOLDER / str(job)
        target = of_job / "frame" / str(frame)
        if not target.exists():
            with cache.result(Blob(digest=digest, size=size)) as source:
                _link_tree(source, target)


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
