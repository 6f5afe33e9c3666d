"""The command scripts/soak: small jobs for a long time, and whether anything of the farm grows meanwhile."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from distren.broker import credentials
from distren.broker.management import Management
from distren.client.farm import Farm
from distren.errors import DistrenError
from trials import growth
from trials.farm import Size, TrialFarm
from trials.growth import Growth

FRAMES = 20
"""of one job"""
SECONDS = (0.02, 0.1)
"""shortest and longest frame"""
JOBS_A_MINUTE = 30
SHORTEST = 4.0
"""minutes: fewer samples say nothing"""
SAMPLE_EVERY = 10.0
_MB = 1e6
ALLOWED = {
    "memory": ("MB", 12.0),
    "descriptors": ("", 2.0),
    "children": ("", 1.0),
    "threads": ("", 2.0),
    "outbox": ("rows", 2.0),
    "queues": ("messages", 2.0),
    "queue count": ("", 1.0),
    "connections": ("", 1.0),
    "broker disk": ("MB", 20.0),
    "blobs": ("MB", None),
    "database": ("MB", None),
}
"""unit, and growth in an hour that still counts as none: what a sample wavers by; None: grows with the jobs, which the
farm keeps"""
COMES_AND_GOES = frozenset({"children", "outbox", "queues"})
"""what a job that is under way has for a moment"""
WRITTEN_AHEAD = 40.0
"""MB: the broker's write-ahead log fills and is emptied again, on disk and in memory (broker/rabbitmq.conf)"""
Samples = dict[tuple[str, str], list[tuple[float, float]]]


def main(description: str | None) -> int:
    """0 where nothing grows, 1 where something does or a job went wrong."""
    arguments = _arguments(description)
    folder = Path(tempfile.mkdtemp(prefix="distren-soak-"))
    logging.basicConfig(filename=folder / "harness.log", level=logging.INFO)
    _say(f"{arguments.minutes} minutes, logs in {folder}")
    farm = TrialFarm(folder, Size(workers=2, slots=2))
    with farm.running():
        before = _broker_memory(farm)
        jobs, samples = _work(farm, arguments.minutes * 60, arguments.rate)
        inside = [(what, before.get(what, 0.0), now) for what, now in _broker_memory(farm).items()]
        exits = [f"{one.name} {one.code}" for one in farm.services for one in one.exits]
    found = [_growth(whose, what, values) for (whose, what), values in samples.items()]
    good = all(one.good for one in found) and not exits
    record = {
        "minutes": arguments.minutes,
        "jobs": jobs,
        "frames": jobs * FRAMES,
        "good": good,
        "exits": exits,
        "growth": [asdict(one) | {"good": one.good} for one in found],
        "broker_memory_mb": [{"what": what, "begin": begin, "end": end} for what, begin, end in inside],
        "samples": {f"{what} of {whose}": values for (whose, what), values in samples.items()},
    }
    path = arguments.output or folder / "soak.json"
    path.write_text(json.dumps(record) + "\n", "utf-8")
    _show(found, jobs, arguments.minutes)
    _show_inside(inside)
    if good and arguments.output:
        shutil.rmtree(folder, ignore_errors=True)
    growing = [one.what for one in found if not one.good]
    _say(f"{'GOOD: nothing grows' if good else f'BAD: {growing or exits}'} ({jobs} jobs; figures in {path})")
    return 0 if good else 1


def _arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--rate", type=float, default=JOBS_A_MINUTE, help="jobs a minute (default 30)")
    parser.add_argument("--output", type=Path, help="where the JSON goes; then the logs go away if all is well")
    arguments = parser.parse_args()
    if arguments.minutes < SHORTEST:
        parser.error(f"--minutes {arguments.minutes:g}: it takes {SHORTEST:g} at least to see whether anything grows")
    return arguments


def _work(farm: TrialFarm, seconds: float, rate: float) -> tuple[int, Samples]:
    """Hand in one job after the other, wait for each and fetch every tenth; sample meanwhile."""
    samples: Samples = defaultdict(list)
    began, sampled, jobs = time.monotonic(), 0.0, 0
    with farm.client() as client:
        while (now := time.monotonic()) - began < seconds:
            jobs += 1
            _job(farm, client, jobs)
            if now - sampled >= SAMPLE_EVERY:
                sampled = now
                for name, value in _sample(farm).items():
                    samples[name].append((now - began, value))
            time.sleep(max(0.0, began + jobs * 60 / rate - time.monotonic()))
    return jobs, dict(samples)


def _job(farm: TrialFarm, client: Farm, number: int) -> None:
    scene = farm.folder / "scene" / "scene.trial"
    scene.parent.mkdir(exist_ok=True)
    scene.write_text(json.dumps({"token": f"soak-{number}", "seconds": SECONDS}), "utf-8")
    job = client.submit(scene, frames=f"1-{FRAMES}")
    job.wait(timeout=300)
    if number % 10 == 0:
        job.fetch(farm.folder / "fetched", partial=False)
        shutil.rmtree(farm.folder / "fetched")


def _sample(farm: TrialFarm) -> dict[tuple[str, str], float]:
    """Everything that must not grow, now: (whose, what) to value."""
    found: dict[tuple[str, str], float] = {}
    for service in farm.services:
        with suppress(psutil.Error):
            found.update(_process(service.name, psutil.Process(service.pid)))
    found.update(_process("client", psutil.Process()))
    leader = farm.broker.status().pid
    nodes = list(_nodes(psutil.Process(leader)))
    found["broker", "memory"] = sum(one.memory_info().rss for one in nodes) / _MB
    found["broker", "descriptors"] = sum(one.num_fds() for one in nodes)
    found["broker", "broker disk"] = _bytes(farm.folder / "broker" / "data") / _MB
    data = farm.folder / "server" / "server"
    found["server", "blobs"] = _bytes(data / "blobs") / _MB
    found["server", "database"] = sum(path.stat().st_size for path in data.glob("distren.db*")) / _MB
    found["server", "outbox"] = _outbox(data / "distren.db")
    with suppress(DistrenError):
        found.update(_broker(farm))
    return found


def _nodes(leader: psutil.Process) -> Iterator[psutil.Process]:
    """RabbitMQ's Erlang; scripts come and go beside it."""
    for one in leader.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if one.name().startswith("beam"):
                yield one


def _process(name: str, process: psutil.Process) -> dict[tuple[str, str], float]:
    return {
        (name, "memory"): process.memory_info().rss / _MB,
        (name, "descriptors"): process.num_fds(),
        (name, "threads"): process.num_threads(),
        (name, "children"): len(process.children(recursive=True)) if name != "client" else 0,
    }


def _outbox(database: Path) -> float:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        return float(connection.execute("select count(*) from outbox").fetchone()[0])


def _broker(farm: TrialFarm) -> dict[tuple[str, str], float]:
    known = credentials.read(farm.folder / "broker")
    assert known is not None, "the broker has been started"
    with Management.of(known) as management:
        totals = management.overview()
    return {
        ("broker", "queues"): float(totals.get("queue_totals", {}).get("messages", 0)),
        ("broker", "queue count"): float(totals["object_totals"]["queues"]),
        ("broker", "connections"): float(totals["object_totals"]["connections"]),
    }


def _broker_memory(farm: TrialFarm) -> dict[str, float]:
    """MB of the broker by what they are for, as RabbitMQ itself counts them (`rabbitmqctl status` shows the same).

    The `total` of its kinds is what Erlang uses, what it holds besides is `allocated_unused`.
    """
    known = credentials.read(farm.folder / "broker")
    assert known is not None, "the broker has been started"
    with Management.of(known) as management:
        found = management.request("GET", f"nodes/{known.node}/memory")["memory"]
    totals = {f"total, {kind}": size for kind, size in found.pop("total", {}).items()}
    return {what: size / _MB for what, size in (totals | found).items() if isinstance(size, int | float)}


def _bytes(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(path) / name).stat().st_size
    return total


def _growth(whose: str, what: str, values: list[tuple[float, float]]) -> Growth:
    unit, allowed = ALLOWED[what]
    if whose == "broker" and what in ("memory", "broker disk"):
        allowed = WRITTEN_AHEAD
    return growth.judge(f"{what} of {whose}", unit, values, allowed, level=min if what in COMES_AND_GOES else median)


def _show(found: list[Growth], jobs: int, minutes: float) -> None:
    table = Table(title=f"{jobs} jobs of {FRAMES} frames in {minutes:g} minutes")
    for heading in ("what", "after the warm-up", "at the end", "growth in an hour", "allowed", "good"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for one in sorted(found, key=lambda one: one.what):
        allowed = "by design" if one.allowed is None else f"{one.allowed:g}"
        verdict = "yes" if one.good else "NO"
        table.add_row(
            one.what, f"{one.first:.1f} {one.unit}", f"{one.last:.1f}", f"{one.per_hour:+.2f}", allowed, verdict
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _show_inside(inside: list[tuple[str, float, float]]) -> None:
    table = Table(title="memory of the broker, by RabbitMQ's own account")
    for heading in ("what", "at the begin", "at the end", "more"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, begin, end in sorted(inside, key=lambda one: one[1] - one[2]):
        table.add_row(what, f"{begin:.1f} MB", f"{end:.1f}", f"{end - begin:+.1f}")
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
