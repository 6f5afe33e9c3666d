"""scripts/chaos --servers N: plans, runs and judges a trial of several servers, and says in one line how it went."""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trials.conclusion import conclude
from trials.course import Course, Say
from trials.farm import Size
from trials.peers import checker, schedule, trial
from trials.peers.shapes import SHAPES
from trials.peers.trial import Outcome
from trials.schedule import Fault

_STALL = 240.0
"""seconds: lines may be cut for a minute, and what waits for them longer"""


def main(arguments: argparse.Namespace, say: Say) -> int:
    """0 where the farms have kept their promise, 1 where they have not."""
    began = time.monotonic()
    shape = SHAPES[arguments.shape](arguments.servers)
    workers = arguments.workers or 2
    plan = schedule.plan(
        seed=arguments.seed,
        frames=arguments.frames,
        faults=arguments.faults,
        shape=shape,
        workers=workers,
        longest=arguments.longest,
    )
    if arguments.plan:
        print("\n".join(f"at {fault.at:5} + {fault.delay:.2f} s: {fault}" for fault in plan))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="distren-chaos-"))
    say(f"seed {arguments.seed}, a {arguments.shape} of {arguments.servers}, logs in {folder}")
    logging.basicConfig(filename=folder / "harness.log", level=logging.INFO)
    size = Size(workers=workers, slots=arguments.slots, frames=arguments.frames)
    course = Course(seed=arguments.seed, frames=arguments.frames, plan=plan, stall=_STALL)
    outcome = trial.run(folder, shape, size, course, say)
    seconds = time.monotonic() - began
    record = _record(arguments, plan, outcome, seconds)
    (folder / "verdict.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    if arguments.json:
        print(json.dumps(record))
    else:
        _show(outcome, plan)
    conclude(outcome.verdict, folder, _replay(arguments), seconds=seconds, keep=arguments.keep, say=say)
    return 0 if outcome.verdict.good else 1


def _record(arguments: argparse.Namespace, plan: list[Fault], outcome: Outcome, seconds: float) -> dict[str, Any]:
    return {
        **outcome.verdict.record(),
        "seed": arguments.seed,
        "servers": arguments.servers,
        "shape": arguments.shape,
        "workers": arguments.workers,
        "slots": arguments.slots,
        "longest": arguments.longest,
        "seconds": round(seconds, 1),
        "boot": round(outcome.boot, 1),
        "rested": round(outcome.rested, 1),
        "ways": outcome.ways,
        "doubtful": outcome.doubtful,
        "rendered_by_for": {f"{by} for {owner}": count for (by, owner), count in sorted(outcome.rendered.items())},
        "lent": _lent(outcome),
        "plan": [str(fault) for fault in plan],
        "exits": outcome.exits,
    }


def _lent(outcome: Outcome) -> int:
    return sum(count for (by, owner), count in outcome.rendered.items() if by != owner)


def _show(outcome: Outcome, plan: list[Fault]) -> None:
    verdict = outcome.verdict
    table = Table(title=f"{verdict.frames} frames, {verdict.faults} faults")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("allowed", justify="right")
    for what, found in (
        ("lost", verdict.lost),
        ("missing", verdict.missing),
        ("recorded twice", verdict.doubled),
        ("corrupt", verdict.corrupt),
    ):
        table.add_row(what, str(found), "0")
    share = verdict.wasted / max(verdict.frames, 1)
    table.add_row("rendered in vain", f"{verdict.wasted} ({share:.1%})", f"{checker.WASTE:.0%}")
    table.add_row("in hand at a fault", str(verdict.in_hand), f"at least {verdict.wasted}")
    table.add_row("in vain without a fault nearby", str(verdict.unexplained), "")
    table.add_row("rendered by a peer", str(_lent(outcome)), "")
    for way, frames in sorted(outcome.ways.items()):
        table.add_row(f"  frames of jobs: {way}", str(frames), "")
    for (by, owner), count in sorted(outcome.rendered.items()):
        table.add_row(f"  by {by} for {owner}", str(count), "")
    table.add_row("submissions that were not answered", str(outcome.doubtful), "")
    table.add_row("all at rest after the last frame", f"{outcome.rested:.0f} s", "")
    table.add_row("services that ended by themselves", str(len(outcome.exits)), "")
    for kind, count in sorted(Counter(str(fault.kind) for fault in plan).items()):
        table.add_row(f"  {kind}", str(count), "")
    Console().print(table)


def _replay(arguments: argparse.Namespace) -> str:
    replay = f"scripts/chaos --servers {arguments.servers} --shape {arguments.shape} --seed {arguments.seed}"
    replay += f" --frames {arguments.frames} --faults {arguments.faults} --longest {arguments.longest:g}"
    return replay + f" --slots {arguments.slots}" + (f" --workers {arguments.workers}" if arguments.workers else "")
