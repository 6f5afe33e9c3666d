"""The adapter for programs that the owner of a worker has listed."""

from __future__ import annotations

from distren.renderers.command.adapter import ListedCommands

__all__ = ["ListedCommands"]
