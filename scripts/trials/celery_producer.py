"""A client of Celery: celery_producer FOLDER FRAMES sends a task for each frame of the scene in FOLDER.

What Celery has accepted is written to FOLDER/submit.log. A task that it refuses is sent again, as a client would.
It sends no more than the workers can soon do, so that tasks are handed in while faults strike.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kombu.exceptions import OperationalError

from trials import renderlog
from trials.celery_tasks import frame

AHEAD = 160
"""tasks that may wait"""
STUCK = 20.0
"""seconds without any rendering after which the tasks that wait are taken for lost, and more are sent"""


class Pace:
    """Says when another task is due: before the workers run dry, or because nothing is to be expected of them."""

    def __init__(self, begun: Callable[[], int]) -> None:
        self._begun, self._last, self._moved = begun, -1, time.monotonic()

    def is_due(self, number: int) -> bool:
        now = self._begun()
        if now != self._last:
            self._last, self._moved = now, time.monotonic()
        return number - now <= AHEAD or time.monotonic() - self._moved > STUCK


def main(folder: Path, frames: int) -> None:
    pace = Pace(renderlog.Counter(Path(os.environ["TRIAL_LOG"])).begun)
    with (folder / "submit.log").open("a", encoding="utf-8", buffering=1) as log:
        for number in range(1, frames + 1):
            while not pace.is_due(number):
                time.sleep(0.2)
            log.write(json.dumps({"frame": number, "task": send(str(folder / "scene.trial"), number)}) + "\n")


def send(scene: str, number: int) -> str:
    """The id of the task that was accepted."""
    while True:
        try:
            return str(frame.apply_async((scene, number)).id)
        except (OperationalError, OSError):
            time.sleep(0.5)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
