"""The adapter for Blender, 3.4 and newer."""

from __future__ import annotations

from distren.renderers.blender.adapter import Blender

__all__ = ["Blender"]
