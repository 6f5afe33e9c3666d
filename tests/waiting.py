"""Waiting for what another process or thread does: always for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

PATIENCE = 60.0
"""seconds that anything may take on a loaded machine"""


def wait_for(condition: Callable[[], object], limit: float = PATIENCE) -> float:
    """Look again and again until `condition` holds; the seconds that it took. The test fails after `limit` seconds.

    What takes long is looked at less often: up to 0.1 s late.
    """
    began = time.monotonic()
    while not condition():
        passed = time.monotonic() - began
        if passed > limit:
            pytest.fail(f"{condition.__qualname__} did not come true within {limit:.0f} s")
        time.sleep(min(max(passed / 20, 0.01), 0.1))
    return time.monotonic() - began
