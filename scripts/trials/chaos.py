"""The command scripts/chaos: plans, runs and judges a trial, and says in one line how it went."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trials import disk, schedule, trial
from trials.checker import Verdict
from trials.conclusion import conclude
from trials.course import Course
from trials.farm import Size, TrialFarm
from trials.peers import chaos as peers
from trials.peers.schedule import LONGEST
from trials.peers.shapes import SHAPES
from trials.schedule import Fault


def main(description: str | None) -> int:
    """0 where the farm has kept its promise, 1 where it has not."""
    arguments = _arguments(description)
    if arguments.servers > 1:
        return peers.main(arguments, _say)
    arguments.workers = arguments.workers or 8
    began = time.monotonic()
    disks = not arguments.no_disks and disk.possible()
    plan = schedule.plan(
        seed=arguments.seed, frames=arguments.frames, faults=arguments.faults, workers=arguments.workers, disks=disks
    )
    if arguments.plan:
        print("\n".join(f"at {fault.at:5} + {fault.delay:.2f} s: {fault}" for fault in plan))
        return 0
    if not disks:
        _say("SKIPPED: no disk is filled, which takes root and the right to mount")
    folder = Path(tempfile.mkdtemp(prefix="distren-chaos-"))
    _say(f"seed {arguments.seed}, logs in {folder}")
    logging.basicConfig(filename=folder / "harness.log", level=logging.INFO)
    size = Size(
        workers=arguments.workers,
        slots=arguments.slots,
        frames=arguments.frames,
        disks=disks,
        standby=arguments.standby,
        container=arguments.broker == "container",
    )
    course = Course(seed=arguments.seed, frames=arguments.frames, plan=plan)
    verdict, farm = trial.run(folder, size, course, _say)
    seconds = time.monotonic() - began
    record = _record(arguments, plan, verdict, farm, seconds, disks=disks)
    (folder / "verdict.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    if arguments.json:
        print(json.dumps(record))
    else:
        _show(verdict, plan, farm)
    conclude(verdict, folder, _replay(arguments), seconds=seconds, keep=arguments.keep, say=_say)
    return 0 if verdict.good else 1


def _arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="names the schedule: the same seed, the same faults")
    parser.add_argument("--frames", type=int, default=1_000, help="how many frames are rendered (default 1000)")
    parser.add_argument("--faults", type=int, default=15, help="how many faults strike (default 15)")
    parser.add_argument("--workers", type=int, help="of each server (default 8; 2 where there are several servers)")
    parser.add_argument("--slots", type=int, default=1, help="frames that a worker renders at once (default 1)")
    parser.add_argument(
        "--servers", type=int, choices=range(1, 6), default=1, help="how many servers, each with a broker (default 1)"
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="ring", help="which of them are peers")
    parser.add_argument(
        "--longest", type=float, default=LONGEST, help="seconds that a line between two brokers is cut (default 60)"
    )
    parser.add_argument("--broker", choices=["local", "container"], default="local", help="which RabbitMQ")
    parser.add_argument("--standby", action="store_true", help="two processes for the server; faults strike either")
    parser.add_argument("--no-disks", action="store_true", help="fill no disks, as where this is not run by root")
    parser.add_argument("--plan", action="store_true", help="only print the schedule")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the logs also where all went well")
    return parser.parse_args()


def _record(
    arguments: argparse.Namespace, plan: list[Fault], verdict: Verdict, farm: TrialFarm, seconds: float, *, disks: bool
) -> dict[str, Any]:
    return {
        **verdict.record(),
        "seed": arguments.seed,
        "workers": arguments.workers,
        "slots": arguments.slots,
        "broker": arguments.broker,
        "standby": arguments.standby,
        "disks": disks,
        "seconds": round(seconds, 1),
        "boot": round(farm.boot, 1),
        "plan": [str(fault) for fault in plan],
        "exits": [f"{one.name} {one.code}" for service in farm.services for one in service.exits],
    }


def _show(verdict: Verdict, plan: list[Fault], farm: TrialFarm) -> None:
    table = Table(title=f"{verdict.frames} frames, {verdict.faults} faults")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_column("allowed", justify="right")
    for what, found in (("lost", verdict.lost), ("missing", verdict.missing)):
        table.add_row(what, str(found), "0")
    table.add_row("recorded twice", str(verdict.doubled), "0")
    table.add_row("corrupt", str(verdict.corrupt), "0")
    table.add_row("rendered in vain", f"{verdict.wasted} ({verdict.wasted / max(verdict.frames, 1):.1%})", "5 %")
    table.add_row("in hand at a fault", str(verdict.in_hand), f"at least {verdict.wasted}")
    table.add_row("in vain without a fault nearby", str(verdict.unexplained), "")
    for whose, waits in (("killed workers", sorted(verdict.again)), ("all kills", sorted(verdict.affected))):
        if waits:
            within = sum(one <= verdict.again_limit for one in waits) / len(waits)
            what = f"frames of {whose}, running again within {verdict.again_limit:.0f} s"
            table.add_row(what, f"{within:.0%} of {len(waits)}", "95 %")
            table.add_row("  after, median and longest", f"{waits[len(waits) // 2]:.1f} s, {waits[-1]:.1f} s", "")
    table.add_row("renderers that outlived their worker", str(verdict.outlived), "")
    exits = sum(len(service.exits) for service in farm.services)
    table.add_row("services that ended by themselves", str(exits), "")
    for kind, count in sorted(Counter(str(fault.kind) for fault in plan).items()):
        table.add_row(f"  {kind}", str(count), "")
    Console().print(table)


def _replay(arguments: argparse.Namespace) -> str:
    replay = f"scripts/chaos --seed {arguments.seed} --frames {arguments.frames} --faults {arguments.faults}"
    replay += f" --workers {arguments.workers} --slots {arguments.slots} --broker {arguments.broker}"
    replay += " --standby" if arguments.standby else ""
    return replay + (" --no-disks" if arguments.no_disks else "")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
