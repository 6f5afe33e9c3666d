"""The adapter that makes a video of the frames that it needs."""

from __future__ import annotations

from distren.renderers.encode.adapter import Encode

__all__ = ["Encode"]
