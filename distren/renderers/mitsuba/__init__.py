"""The adapter for Mitsuba 3."""

from __future__ import annotations

from distren.renderers.mitsuba.adapter import Mitsuba

__all__ = ["Mitsuba"]
