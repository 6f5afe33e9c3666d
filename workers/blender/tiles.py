"""Runs inside Blender: renders a part of the image by its border, cropped, so that the parts make up the whole."""

from __future__ import annotations

from contextlib import contextmanager

_INSIDE = 0.25
"""pixels by which a border is moved inwards, as Blender cuts it to whole pixels after computing with few digits"""


@contextmanager
def cropped(scene, tile):
    """Render only `tile` (left, top, width, height in pixels from the top left, or None); gives the image's size."""
    render = scene.render
    wide, high = render.resolution_x, render.resolution_y
    if tile is None:
        if render.use_border and render.use_crop_to_border:
            yield None, None  # the file's own border, whose pixels Blender counts
            return
        yield wide, high
        return
    left, top, width, height = tile
    border = ("use_border", "use_crop_to_border", "border_min_x", "border_max_x", "border_min_y", "border_max_y")
    before = {name: getattr(render, name) for name in border}
    render.use_border = render.use_crop_to_border = True
    render.border_min_x, render.border_max_x = (left + _INSIDE) / wide, (left + width + _INSIDE) / wide
    bottom = high - top - height
    render.border_min_y, render.border_max_y = (bottom + _INSIDE) / high, (bottom + height + _INSIDE) / high
    try:
        yield width, height
    finally:
        for name, value in before.items():
            setattr(render, name, value)
