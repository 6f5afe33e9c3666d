"""The Celery application that dispatch is measured against: a task that runs /bin/true, its result in a database."""

from __future__ import annotations

import os
import subprocess

from celery import Celery

app = Celery(
    "bench",
    broker=os.environ["BENCH_BROKER"],
    backend=f"db+sqlite:///{os.environ['BENCH_DATABASE']}",
    set_as_current=False,
)
app.conf.task_acks_late = True


@app.task(name="true")  # type: ignore[untyped-decorator]
def true() -> int:
    """What a frame of the trivial renderer does."""
    return subprocess.run(["/bin/true"], check=True).returncode
