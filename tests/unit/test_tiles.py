"""How an image is divided into tiles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distren.errors import InputError
from distren.renderers import tiles
from distren.renderers.tiles import Grid

SIDE = st.integers(1, 200)


@settings(deadline=None)  # a loaded machine
@given(width=SIDE, height=SIDE, columns=st.integers(1, 20), rows=st.integers(1, 20))
def test_tiles_cover_each_pixel_once(width: int, height: int, columns: int, rows: int) -> None:
    grid = Grid(columns=min(columns, width), rows=min(rows, height))
    found = tiles.divide(width, height, grid)
    assert len(found) == len(grid)
    covered = [
        (column, row)
        for tile in found
        for row in range(tile.top, tile.top + tile.height)
        for column in range(tile.left, tile.left + tile.width)
    ]
    assert sorted(covered) == [(column, row) for column in range(width) for row in range(height)]
    assert max(tile.width for tile in found) - min(tile.width for tile in found) <= 1


def test_tiles_go_row_by_row() -> None:
    found = tiles.divide(10, 4, tiles.parse("2x2"))
    assert [(tile.left, tile.top) for tile in found] == [(0, 0), (5, 0), (0, 2), (5, 2)]
    assert found[3].settings == {"tile-left": "5", "tile-top": "2", "tile-width": "5", "tile-height": "2"}


@pytest.mark.parametrize("text", ["", "4", "4x", "0x4", "4x4x4", "33x32", "-1x4", "4X4", "\u0664x4"])
def test_what_is_no_grid_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no grid of tiles"):
        tiles.parse(text)


def test_an_image_that_is_smaller_than_its_tiles_is_refused() -> None:
    with pytest.raises(InputError, match="3x3 pixels can not be divided into 4x1"):
        tiles.divide(3, 3, tiles.parse("4x1"))


@pytest.mark.parametrize(("last", "stride"), [(1, 10), (9, 10), (10, 100), (48, 100), (999, 1000), (1000, 10_000)])
def test_ids_of_tiles_begin_above_the_frames(last: int, stride: int) -> None:
    assert tiles.stride(last) == stride
