"""The adapter that puts the tiles of an image together."""

from __future__ import annotations

from distren.renderers.merge.adapter import Merge

__all__ = ["Merge"]
