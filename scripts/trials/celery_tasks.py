"""The Celery application of a trial: its task runs the program of the trial renderer, its result is in a database.

TRIAL_CELERY names the settings: `defaults`, or `late`, what Celery's documents advise where tasks must not be lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from celery import Celery

PROGRAM = Path(__file__).parent / "renderer" / "trial_program.py"
app = Celery(
    "trial",
    broker=os.environ["DISTREN_BROKER"],
    backend=f"db+sqlite:///{os.environ['TRIAL_DATABASE']}",
    set_as_current=False,
)
app.conf.broker_connection_retry_on_startup = True
app.conf.broker_connection_max_retries = None
if os.environ["TRIAL_CELERY"] == "late":
    app.conf.task_acks_late = True
    app.conf.task_reject_on_worker_lost = True
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="frame")  # type: ignore[untyped-decorator]
def frame(scene: str, number: int) -> int:
    """Render a frame, as a worker of DistRen would."""
    with tempfile.TemporaryDirectory(prefix="celery-frame-") as folder:
        command = [sys.executable, "-I", "-S", str(PROGRAM), scene, str(number), f"{folder}/frame.dat"]
        return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True).returncode
