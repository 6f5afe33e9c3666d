"""The files of the frames that a frame needs, as the worker lays them out: `needs/frame/<id>/...`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FOLDER = "needs"
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".hdr", ".tga", ".bmp", ".ppm", ".webp"})
"""endings of images"""


def frames(output: Path) -> list[tuple[int, Path]]:
    """Each needed frame of the same job with the folder of its files, by id; `output` is the working directory."""
    folder = output / FOLDER / "frame"
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(path.name), path) for path in found if path.name.isdecimal())


def files(folder: Path) -> Iterator[Path]:
    """The files of one frame, by name."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def images(folder: Path) -> list[Path]:
    """Those of them that are images, by their names."""
    return [path for path in files(folder) if path.suffix.lower() in IMAGES]
