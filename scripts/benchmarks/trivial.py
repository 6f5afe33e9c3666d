"""Jobs for the trivial renderer: frames that take no time, so that the farm itself is what is measured."""

from __future__ import annotations

from pathlib import Path

RENDERER = "true"


def scene(folder: Path) -> Path:
    """A scene whose frames run /bin/true."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scene.true"
    path.write_text("every frame of this scene runs /bin/true\n", "utf-8")
    return path
