"""Celery with the farm's broker, late acknowledgement and a SQLAlchemy result backend, as a rival to dispatch."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE = 300.0
"""seconds; a run that takes longer has failed"""


class CeleryFarm:
    """One Celery worker with `processes` child processes; starts with `with`, and ends with it."""

    def __init__(self, broker_url: str, folder: Path, processes: int) -> None:
        self._database = folder / "celery.db"
        self._environment = os.environ | {"BENCH_BROKER": broker_url, "BENCH_DATABASE": str(self._database)}
        self._log = folder / "celery.log"
        self._processes = processes
        self._sent = 0

    def __enter__(self) -> Self:
        os.environ.update(self._environment)
        arguments = ["worker", "--concurrency", str(self._processes), "--loglevel", "WARNING"]
        with self._log.open("wb") as log:
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "benchmarks.celery_tasks", *arguments],
                cwd=Path(__file__).parent.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.seconds(20)  # the worker is up and its database made before anything counts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.send_signal(signal.SIGTERM)
        try:
            self._worker.wait(20)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()

    def seconds(self, tasks: int) -> float:
        """How long `tasks` tasks take from the first one sent to the last result recorded."""
        from benchmarks.celery_tasks import true

        self._sent += tasks
        start = time.monotonic()
        with true.app.producer_or_acquire() as producer:
            for _ in range(tasks):
                true.apply_async(producer=producer)
        while self._recorded() < self._sent:
            if time.monotonic() > start + PATIENCE or self._worker.poll() is not None:
                raise RuntimeError(f"Celery did not finish {tasks} tasks: see {self._log}")
            time.sleep(0.02)
        return time.monotonic() - start

    def _recorded(self) -> int:
        """How many results the database holds."""
        if not self._database.exists():
            return 0
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as connection:
            try:
                row = connection.execute("select count(*) from celery_taskmeta where status = 'SUCCESS'").fetchone()
            except sqlite3.OperationalError:  # the table is not made yet, or the writer has the file
                return 0
        return int(row[0])
