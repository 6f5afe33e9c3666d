"""A client that hands in jobs while the farm is disturbed, and writes down what the farm has promised."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from distren.client.farm import Farm
from distren.errors import BrokerUnavailable, DistrenError, NoAnswer, OutputError, TransferError

PASSING = (BrokerUnavailable, NoAnswer, TransferError, OutputError)
"""what a client tries again after; the last one says that the server's disk is full"""
_AGAIN_AFTER = 0.5
"""seconds"""


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The farm has said that it has this job: `token` is its scene's, its frames are 1 to `frames`."""

    token: str
    job: int
    frames: int
    at: float
    tries: int


def sizes(seed: int, frames: int, jobs: int | None = None) -> list[int]:
    """How many frames each job has: several jobs of unequal sizes, all together `frames`."""
    random_ = random.Random(f"jobs {seed} {frames}")
    count = jobs or max(2, min(12, frames // 80))
    cuts = sorted(random_.sample(range(1, frames), count - 1)) if frames > count else []
    return [end - start for start, end in zip([0, *cuts], [*cuts, frames], strict=True)]


class Submitter(threading.Thread):
    """Hands in one job after the other, so that the farm never runs dry; `failure` says why it gave up."""

    def __init__(
        self,
        connect: Callable[[], Farm],
        folder: Path,
        *,
        seed: int,
        sizes: list[int],
        seconds: tuple[float, float],
        begun: Callable[[], int],
        ahead: int,
    ) -> None:
        """`begun` says how many attempts have begun; a job is handed in once no more than `ahead` frames are left."""
        super().__init__(name="submitter", daemon=True)
        self.promises: list[Promise] = []
        self.failure: DistrenError | None = None
        self._connect, self._folder, self._seed, self._sizes = connect, folder, seed, sizes
        self._seconds, self._begun, self._ahead = seconds, begun, ahead
        self._ending = threading.Event()

    def end(self) -> None:
        """Hand in nothing more."""
        self._ending.set()

    def run(self) -> None:
        handed_in = 0
        for number, frames in enumerate(self._sizes, start=1):
            while handed_in - self._begun() > self._ahead and not self._ending.wait(0.1):
                pass
            try:
                self._hand_in(f"{self._seed}-{number}", frames)
            except DistrenError as error:
                self.failure = error
            if self.failure is not None or self._ending.is_set():
                return
            handed_in += frames

    def _hand_in(self, token: str, frames: int) -> None:
        scene = self._folder / token / "scene.trial"
        scene.parent.mkdir(parents=True)
        scene.write_text(json.dumps({"token": token, "seconds": self._seconds}), "utf-8")
        tries = 0
        while not self._ending.is_set():
            tries += 1
            try:
                with self._connect() as farm:
                    job = farm.submit(scene, frames=f"1-{frames}", name=token)
            except PASSING:
                self._ending.wait(_AGAIN_AFTER)
                continue
            self._promised(Promise(token=token, job=job.id, frames=frames, at=time.time(), tries=tries))
            return

    def _promised(self, promise: Promise) -> None:
        self.promises.append(promise)
        with (self._folder / "submit.log").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(promise)) + "\n")
