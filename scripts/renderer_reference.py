#!/usr/bin/env python3
"""Writes docs/reference/renderers.md from what the renderers declare. With --check it writes nothing, and fails where
the page is not current. A test does the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from distren.renderers import registry
from distren.renderers.declaration import Setting
from distren.renderers.protocol import Renderer

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "renderers.md"
HEAD = """# Renderers and their settings

<!-- Written by scripts/renderer_reference.py from what the renderers declare: change that, and run it. -->

Settings are given with `--set NAME=VALUE`, in the `<settings>` of a [distrenjob.xml](distrenjob.md), or in Python's
`settings`. `distren renderers` says which renderers run on a machine, and `distren renderers NAME` lists these tables.
How to add one of your own: [add a renderer](../how-to/add-a-renderer.md).
"""


def page() -> str:
    """The whole page; renderers of other packages have their own documentation."""
    adapters = sorted(registry.installed().items())
    own = [adapter for _, adapter in adapters if type(adapter).__module__.startswith("distren.")]
    return "\n".join([HEAD, *(line for adapter in own for line in _section(adapter))])


def _section(adapter: Renderer) -> Iterator[str]:
    declared = adapter.declaration
    scenes = f"; scenes end in {', '.join(f'`{ending}`' for ending in declared.endings)}" if declared.endings else ""
    tiles = "; can render tiles" if declared.can_tile else ""
    more = Path(f"{adapter.name}.md")
    yield from (f"## {declared.title}", "", f"`{adapter.name}`: {declared.about}{scenes}{tiles}.", "")
    if (PAGE.parent / more).exists():
        yield from (f"More about it: [{declared.title}]({more}).", "")
    options = any(setting.option for setting in declared.settings)
    heads = ["setting", "meaning", "write", "default", *([f"{declared.title}'s word"] if options else [])]
    yield from (_row(heads), _row(["---"] * len(heads)))
    for setting in declared.settings:
        yield _row(_cells(setting)[: len(heads)])
    yield ""


def _cells(setting: Setting) -> list[str]:
    option = ", ".join(f"`{one}`" for one in setting.option.split(", ") if one)
    return [f"`{setting.shown}`", setting.meaning, setting.values, setting.default, option]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        if not current:
            print(f"{PAGE} is not current: run scripts/renderer_reference.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
