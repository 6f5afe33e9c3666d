"""The result of a benchmark: one table for people, one JSON file for programs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row
from distren import __version__


def show(rows: Sequence[Row], failed: dict[str, str]) -> None:
    """Print the table; what could not be measured is in it as well."""
    table = Table(title=f"DistRen {__version__} on {os.cpu_count()} cores")
    for heading in ("row", "measured", "figure", "bar", "met"):
        table.add_column(heading, justify="right" if heading in ("figure", "bar") else "left")
    for row in rows:
        bar = f"{row.need} {figure(row.bar, row.unit)}"
        met = "[green]yes[/]" if row.met else "[red]NO[/]"
        table.add_row(row.name, row.what, figure(row.figure, row.unit), bar, met)
    for name, reason in failed.items():
        table.add_row(name, reason, "-", "-", "[red]not measured[/]")
    Console(width=None if os.isatty(1) else 160).print(table)


def figure(value: float, unit: str) -> str:
    """`1.04x`, `87 ms`."""
    return f"{value:.2f}x" if unit == "x" else f"{value:.0f} {unit}"


def save(rows: Sequence[Row], failed: dict[str, str], folder: Path) -> Path:
    """Write the JSON file; its name holds the time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("bench-%Y%m%d-%H%M%S.json")
    record: dict[str, Any] = {
        "distren": __version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load before": os.getloadavg(),
        "rows": [row.record() for row in rows],
        "not measured": failed,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return path
