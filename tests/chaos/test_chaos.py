"""The short version of scripts/chaos: every kind of fault strikes once, and every result is recorded exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import brokers
import pytest

CHAOS = Path(__file__).parents[2] / "scripts" / "chaos"
SEED = 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_farm_keeps_its_promise_while_faults_strike(broker_kind: brokers.Kind, tmp_path: Path) -> None:
    command = [sys.executable, str(CHAOS), "--seed", str(SEED), "--frames", "1000", "--faults", "15", "--json"]
    done = subprocess.run(
        [*command, "--broker", broker_kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.stdout, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["failures"] == [], done.stderr
    assert (verdict["frames"], verdict["faults"]) == (1000, 15)
    assert verdict["rendered"] >= 1000
    assert done.returncode == 0
    assert verdict["disks"] or os.geteuid() != 0 or not os.environ.get("CI"), "CI can fill disks"
