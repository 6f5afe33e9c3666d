"""Waiting for what another process or thread does: always for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import pytest


def wait_for(condition: Callable[[], object], limit: float = 60.0) -> float:
    """Look again and again until `condition` holds; the seconds that it took. The test fails after `limit` seconds."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit:
            pytest.fail(f"{condition.__qualname__} did not come true within {limit:.0f} s")
        time.sleep(0.01)
    return time.monotonic() - began


def has_ended(process: psutil.Process) -> bool:
    """Whether it does nothing any more. In a container whose first process reaps nobody, the dead stay as zombies."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
