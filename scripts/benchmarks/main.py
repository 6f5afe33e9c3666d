"""Runs the rows that were asked for, one after the other, on one farm."""

from __future__ import annotations

import argparse
import importlib
import shutil
import tempfile
import traceback
from pathlib import Path

from benchmarks import report
from benchmarks.farm import BenchFarm
from benchmarks.measure import Row, say

NAMES = (
    "latency",
    "dispatch",
    "submit",
    "changes",
    "transfer",
    "delta",
    "memory",
    "efficiency",
    "short_frames",
    "sandbox",
    "blender",
    "chaos",
    "federation",
    "lent",
)


def main(description: str | None) -> int:
    """The whole run; 0 when every row was measured and meets its bar."""
    arguments = _arguments(description)
    folder = Path(tempfile.mkdtemp(prefix="distren-bench-"))
    rows: list[Row] = []
    failed: dict[str, str] = {}
    with BenchFarm(folder).running() as farm:
        for name in arguments.rows or NAMES:
            say(f"{name} ...")
            try:
                rows += importlib.import_module(f"benchmarks.{name}").rows(farm, arguments.rounds)
            except Exception as error:  # the other rows are still worth having
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    report.show(rows, failed)
    say(f"written to {report.save(rows, failed, arguments.output)}")
    if failed:
        say(f"logs are in {folder}")
    else:
        shutil.rmtree(folder)
    return 0 if not failed and all(row.met for row in rows) else 1


def _arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"what to measure: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--output", type=Path, default=Path("bench-results"), help="where the JSON goes")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(NAMES):
        parser.error(f"no row is called {min(unknown)}: there are {', '.join(NAMES)}")
    return arguments
