"""How an image is divided into tiles, and how frames and tiles are numbered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from distren.errors import InputError

MOST = 1024
"""tiles of an image"""
_GRID = re.compile(r"(\d{1,3})x(\d{1,3})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Columns and rows of tiles; written `4x4`."""

    columns: int
    rows: int

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}"

    def __len__(self) -> int:
        return self.columns * self.rows


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A part of an image, in pixels from the top left."""

    left: int
    top: int
    width: int
    height: int

    @property
    def settings(self) -> dict[str, str]:
        """What a renderer is told (distren.renderers.declaration.TILE)."""
        return {
            "tile-left": str(self.left),
            "tile-top": str(self.top),
            "tile-width": str(self.width),
            "tile-height": str(self.height),
        }


def parse(text: str) -> Grid:
    """Read `4x4`; raises InputError."""
    match = _GRID.fullmatch(text)
    grid = Grid(columns=int(match[1]), rows=int(match[2])) if match else None
    if grid is None or not 1 <= len(grid) <= MOST:
        raise InputError(f"'{text}' is no grid of tiles: write columns and rows, for example 4x4 ({MOST} at most)")
    return grid


def divide(width: int, height: int, grid: Grid) -> list[Tile]:
    """The tiles of an image of so many pixels, row by row; their sizes differ by one pixel at most.

    Raises InputError where there are more of them than pixels.
    """
    if grid.columns > width or grid.rows > height:
        raise InputError(f"an image of {width}x{height} pixels can not be divided into {grid} tiles")
    lefts = [width * column // grid.columns for column in range(grid.columns + 1)]
    tops = [height * row // grid.rows for row in range(grid.rows + 1)]
    return [
        Tile(left=left, top=top, width=right - left, height=bottom - top)
        for top, bottom in pairwise(tops)
        for left, right in pairwise(lefts)
    ]


def stride(last: int) -> int:
    """What the ids of one tile's frames are apart from those of the next: the power of ten above the last frame.

    Tile 3 (counted from 1, row by row) of frame 12 of 48 is frame 312.
    """
    return int(10 ** len(str(last)))
