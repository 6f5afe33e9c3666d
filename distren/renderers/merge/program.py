"""Runs as a child process: merges images as the file says that it is given. `merged 3 of 16`, or `error: ...`.

A tile's image has the size of the tile, or that of the whole image, of which the tile's part is taken. Pixels keep
their type and value: nothing is converted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813 - the name that its own documentation uses

Pixels = np.ndarray[Any, np.dtype[Any]]


class Unmerged(Exception):
    """Why the tiles can not be put together."""


def main() -> int:
    order = json.loads(Path(sys.argv[1]).read_text())
    total = len(order["names"]) * len(order["tiles"])
    done = 0
    try:
        for name in order["names"]:
            merged = _Merged(order["size"])
            for tile in order["tiles"]:
                merged.add(Path(tile["folder"]) / name, tile)
                done += 1
                print(f"merged {done} of {total}", flush=True)  # noqa: T201 - this is how the worker hears it
            merged.write(Path(name))
    except (Unmerged, OSError) as error:
        print(f"error: {error}", flush=True)  # noqa: T201
        return 1
    return 0


class _Merged:
    """One image file, with all of its parts (an EXR file may hold several), as it grows tile by tile."""

    def __init__(self, size: list[int]) -> None:
        self._width, self._height = size
        self._parts: list[tuple[Any, Pixels]] = []

    def add(self, path: Path, tile: dict[str, int]) -> None:
        for number, (spec, pixels) in enumerate(_read(path)):
            if number == len(self._parts):
                self._parts.append((spec, np.zeros((self._height, self._width, spec.nchannels), pixels.dtype)))
            first, canvas = self._parts[number]
            if list(spec.channelnames) != list(first.channelnames) or pixels.dtype != canvas.dtype:
                raise Unmerged(f"{path} has other channels than the first tile")
            rows = slice(tile["top"], tile["top"] + tile["height"])
            columns = slice(tile["left"], tile["left"] + tile["width"])
            height, width = pixels.shape[:2]
            if (width, height) == (self._width, self._height):
                canvas[rows, columns] = pixels[rows, columns]
            elif (width, height) == (tile["width"], tile["height"]):
                canvas[rows, columns] = pixels
            else:
                raise Unmerged(f"{path} has {width}x{height} pixels, which is neither the tile nor the whole image")

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = oiio.ImageOutput.create(str(path))
        if target is None:
            raise Unmerged(f"{path.name} can not be written: {oiio.geterror()}")
        specs = [self._whole(spec) for spec, _ in self._parts]
        opened = target.open(str(path), tuple(specs)) if len(specs) > 1 else target.open(str(path), specs[0])
        for number, (spec, (_, pixels)) in enumerate(zip(specs, self._parts, strict=True)):
            good = (
                opened and (not number or target.open(str(path), spec, "AppendSubimage")) and target.write_image(pixels)
            )
            if not good:
                raise Unmerged(f"{path.name} can not be written: {target.geterror()}")
        if not target.close():
            raise Unmerged(f"{path.name} can not be written: {target.geterror()}")

    def _whole(self, spec: Any) -> Any:
        """The first tile's description, for the whole image."""
        made = oiio.ImageSpec(spec)
        made.x = made.y = made.full_x = made.full_y = 0
        made.width = made.full_width = self._width
        made.height = made.full_height = self._height
        made.attribute("oiio:UnassociatedAlpha", 1)
        return made


def _read(path: Path) -> list[tuple[Any, Pixels]]:
    hints = oiio.ImageSpec()
    hints.attribute("oiio:UnassociatedAlpha", 1)
    source = oiio.ImageInput.open(str(path), hints)
    if source is None:
        raise Unmerged(f"{path} is no image that can be read: {oiio.geterror()}")
    parts, number = [], 0
    try:
        while source.seek_subimage(number, 0):
            spec = oiio.ImageSpec(source.spec())
            pixels = source.read_image(number, 0, 0, spec.nchannels, spec.format)
            if pixels is None:
                raise Unmerged(f"{path} is damaged: {source.geterror()}")
            parts.append((spec, pixels.reshape(spec.height, spec.width, spec.nchannels)))
            number += 1
        source.geterror()  # that there is no further part is no error
    finally:
        source.close()
    return parts


if __name__ == "__main__":
    sys.exit(main())
