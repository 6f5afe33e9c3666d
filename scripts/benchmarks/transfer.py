"""Transfer: a large seed from client to worker against curl from a sendfile server; see scripts/bench_transfer.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.farm import BenchFarm
from benchmarks.measure import Row

SEED = 500
"""MB (10^6 bytes)"""
SCRIPT = Path(__file__).parents[1] / "bench_transfer.py"


def rows(farm: BenchFarm, rounds: int) -> Iterator[Row]:
    with farm.empty_vhost("transfer") as url:  # it brings a server of its own
        measured = subprocess.run(
            [sys.executable, SCRIPT, "--broker", url, "--size", str(SEED), "--runs", str(rounds)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
        )
    found = json.loads(measured.stdout.splitlines()[-1])
    whole, rates = found["of curl"]["client to worker"], found["MB/s"]
    yield Row(
        name="transfer",
        what=f"seed of {SEED} MB from client through server to worker ({rates['client to worker']} MB/s) / curl, "
        f"one leg ({rates['curl']} MB/s); digest checked, file written",
        figure=whole,
        unit="x",
        need="at least",
        bar=0.5,
        samples={name: [rate] for name, rate in rates.items()},
        notes=found,
    )
