"""The adapter for POV-Ray 3.7."""

from __future__ import annotations

from distren.renderers.povray.adapter import PovRay

__all__ = ["PovRay"]
